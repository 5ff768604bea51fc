package io.fourfold.data.text;

import java.io.IOException;
import org.jspecify.annotations.Nullable;

/** The records of one file, or of a part of it, in order. */
public interface RecordSource extends AutoCloseable {
    /** The next record; null at the end. */
    @Nullable
    RawRecord next() throws IOException;

    @Override
    void close() throws IOException;
}
