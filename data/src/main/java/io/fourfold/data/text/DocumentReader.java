package io.fourfold.data.text;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/** Turns records into normalised documents; skips and counts those that cannot be used. */
public final class DocumentReader {
    /** JSON may escape a character of three bytes with six, and a record has other fields too. */
    private static final long LINE_OVERHEAD = 3;

    private final long maxDocumentBytes;
    private final SkipCounts counts = new SkipCounts();

    public DocumentReader(long maxDocumentBytes) {
        this.maxDocumentBytes = maxDocumentBytes;
    }

    /** Most bytes to hold of a record that may have a document of {@code maxDocumentBytes}. */
    public static int maxRecordBytes(long maxDocumentBytes) {
        return (int) Math.min(Integer.MAX_VALUE - 64, LINE_OVERHEAD * maxDocumentBytes + (1 << 16));
    }

    public SkipCounts counts() {
        return counts;
    }

    /** The next usable document of {@code source}; null at its end. */
    public @Nullable Document next(RecordSource source) throws IOException {
        while (true) {
            RawRecord raw = source.next();
            if (raw == null) {
                return null;
            }
            long ordinal = counts.records();
            counts.record();
            Document document = usable(raw, ordinal);
            if (document != null) {
                return document;
            }
        }
    }

    private @Nullable Document usable(RawRecord raw, long ordinal) {
        if (raw.skip() != null || raw.text() == null) {
            SkipReason reason = raw.skip() == null ? SkipReason.MISSING_TEXT : raw.skip();
            counts.skip(reason, raw.place(), raw.detail());
            return null;
        }
        if (!StrictUtf8.isEncodable(raw.text())) {
            counts.skip(SkipReason.INVALID_UTF8, raw.place(), "half of a surrogate pair");
            return null;
        }
        String text = TextNormalizer.normalize(raw.text());
        if (text.isBlank()) {
            counts.skip(SkipReason.EMPTY, raw.place(), "");
            return null;
        }
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        if (utf8.length > maxDocumentBytes) {
            counts.skip(SkipReason.TOO_LONG, raw.place(), utf8.length + " bytes of text");
            return null;
        }
        String id = raw.id() == null ? raw.place() : raw.id();
        return new Document(ordinal, id, text, utf8.length, DocumentHash.of(utf8));
    }
}
