package io.fourfold.data.text;

import java.io.InputStream;

/** Opens compressed streams. Several members or frames after one another read as one. */
public final class Decompression {
    private Decompression() {}

    /** Wraps {@code in}; closing the result closes it. A truncated stream fails when its end is reached. */
    public static InputStream wrap(InputStream in, InputKind.Compression compression) {
        return switch (compression) {
            case NONE -> in;
            case GZIP -> new GzipStream(in);
            case ZSTD -> new ZstdStream(in);
        };
    }
}
