package io.fourfold.checkpoint;

import java.io.IOException;
import java.io.OutputStream;
import java.util.List;

/** A disk that is full after a number of bytes. */
public final class LimitedStorage implements RunStorage {
    private final RunStorage disk;
    private long freeBytes = Long.MAX_VALUE;

    public LimitedStorage(RunStorage disk) {
        this.disk = disk;
    }

    public synchronized void setFreeBytes(long bytes) {
        freeBytes = bytes;
    }

    private synchronized void take(long bytes) throws IOException {
        if (bytes > freeBytes) {
            throw new IOException("No space left on device");
        }
        freeBytes -= bytes;
    }

    @Override
    public String location() {
        return disk.location();
    }

    @Override
    public OutputStream create(String path) throws IOException {
        OutputStream out = disk.create(path);
        return new OutputStream() {
            @Override
            public void write(int b) throws IOException {
                take(1);
                out.write(b);
            }

            @Override
            public void write(byte[] bytes, int offset, int count) throws IOException {
                take(count);
                out.write(bytes, offset, count);
            }

            @Override
            public void close() throws IOException {
                out.close();
            }
        };
    }

    @Override
    public StorageInput open(String path) throws IOException {
        return disk.open(path);
    }

    @Override
    public boolean exists(String path) throws IOException {
        return disk.exists(path);
    }

    @Override
    public List<String> list(String folder) throws IOException {
        return disk.list(folder);
    }

    @Override
    public void rename(String from, String to) throws IOException {
        disk.rename(from, to);
    }

    @Override
    public void delete(String path) throws IOException {
        disk.delete(path);
    }
}
