package io.fourfold.data.text;

import com.github.luben.zstd.ZstdInputStreamNoFinalizer;
import java.io.IOException;
import java.io.InputStream;
import java.util.zip.GZIPInputStream;

/** Opens compressed streams. Several members or frames after one another read as one. */
public final class Decompression {
    private static final int BUFFER = 1 << 16;

    private Decompression() {}

    /** Wraps {@code in}; closing the result closes it. A truncated stream fails when its end is reached. */
    public static InputStream wrap(InputStream in, InputKind.Compression compression) throws IOException {
        return switch (compression) {
            case NONE -> in;
            case GZIP -> new GZIPInputStream(in, BUFFER);
            case ZSTD -> new ZstdInputStreamNoFinalizer(in);
        };
    }
}
