package io.fourfold.data.text;

import org.jspecify.annotations.Nullable;

/**
 * One record as it was read: either text or the reason why there is none.
 *
 * @param place where it stands, for people: {@code file:line} or {@code file row n}
 * @param id the record's own identifier; null = it has none
 * @param text null when {@code skip} is given
 * @param skip null when {@code text} is given
 * @param detail more about the reason; empty when there is no more to say
 */
public record RawRecord(
        String place,
        @Nullable String id,
        @Nullable String text,
        @Nullable SkipReason skip,
        String detail) {
    /** A record with text. */
    public static RawRecord of(String place, @Nullable String id, String text) {
        return new RawRecord(place, id, text, null, "");
    }

    /** A record without. */
    public static RawRecord skipped(String place, SkipReason reason, String detail) {
        return new RawRecord(place, null, null, reason, detail);
    }

    /** Strict UTF-8: the text, or null if {@code bytes} are not UTF-8. */
    public static @Nullable String decode(byte[] bytes) {
        return new StrictUtf8().decode(bytes, 0, bytes.length);
    }
}
