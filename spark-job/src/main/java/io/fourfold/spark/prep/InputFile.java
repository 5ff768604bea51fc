package io.fourfold.spark.prep;

import io.fourfold.data.text.InputKind;
import java.io.Serializable;

/**
 * A raw file.
 *
 * @param path its full URI
 * @param name its path below the folder all files of the data set share: the same wherever the data lies
 * @param length bytes
 * @param modified milliseconds since 1970
 */
record InputFile(String path, String name, long length, long modified, InputKind kind) implements Serializable {
    /** Rough factor from stored to plain bytes. Decides how work is cut, never what comes out of a record. */
    private long expansion() {
        return kind.compression() != InputKind.Compression.NONE ? 4 : kind.format() == InputKind.Format.PARQUET ? 2 : 1;
    }

    /** Roughly how many bytes of text it holds. */
    long estimatedTextBytes() {
        return length * expansion();
    }
}
