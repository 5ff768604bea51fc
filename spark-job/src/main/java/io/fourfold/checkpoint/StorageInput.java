package io.fourfold.checkpoint;

import java.io.IOException;

/** A file opened for positional reads. */
public interface StorageInput extends AutoCloseable {
    /** Bytes in the file. */
    long length() throws IOException;

    /** Fills {@code count} bytes from {@code position}; {@link java.io.EOFException} when the file ends before. */
    void readFully(long position, byte[] target, int offset, int count) throws IOException;

    @Override
    void close() throws IOException;
}
