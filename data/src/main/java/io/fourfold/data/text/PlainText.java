package io.fourfold.data.text;

import java.io.IOException;
import java.io.InputStream;
import org.jspecify.annotations.Nullable;

/** One document: the whole file. */
public final class PlainText implements RecordSource {
    private final InputStream in;
    private final String file;
    private final int maxBytes;
    private boolean done;

    public PlainText(InputStream in, String file, int maxBytes) {
        this.in = in;
        this.file = file;
        this.maxBytes = maxBytes;
    }

    @Override
    public @Nullable RawRecord next() throws IOException {
        if (done) {
            return null;
        }
        done = true;
        byte[] bytes = in.readNBytes(maxBytes);
        if (bytes.length == maxBytes && in.read() >= 0) {
            return RawRecord.skipped(file, SkipReason.TOO_LONG, "file of more than " + maxBytes + " bytes");
        }
        String text = new StrictUtf8().decode(bytes, 0, bytes.length);
        return text == null
                ? RawRecord.skipped(file, SkipReason.INVALID_UTF8, "the file is not UTF-8")
                : RawRecord.of(file, null, text);
    }

    @Override
    public void close() throws IOException {
        in.close();
    }
}
