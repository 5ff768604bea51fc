package io.fourfold.data.text;

import java.util.Locale;

/** Why a record gives no document. */
public enum SkipReason {
    /** No text left after normalising. */
    EMPTY(false),
    /** More than the permitted bytes. */
    TOO_LONG(false),
    /** The line is not one JSON object. */
    MALFORMED_JSON(true),
    /** The text field is absent or not a string. */
    MISSING_TEXT(true),
    /** Bytes that are not UTF-8, or half of a surrogate pair. */
    INVALID_UTF8(true);

    private final boolean bad;

    SkipReason(boolean bad) {
        this.bad = bad;
    }

    /** True when it speaks of damaged input rather than of a document nobody wants. */
    public boolean bad() {
        return bad;
    }

    /** Key in manifests and reports. */
    public String key() {
        return name().toLowerCase(Locale.ROOT);
    }
}
