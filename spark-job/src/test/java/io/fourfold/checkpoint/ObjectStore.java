package io.fourfold.checkpoint;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * An object store in memory: an object appears whole when it is closed, there are no folders, folders cannot be renamed, a
 * rename of an object is a copy and a deletion. Counts what it is asked for.
 */
public final class ObjectStore implements RunStorage {
    private final ConcurrentSkipListMap<String, byte[]> objects = new ConcurrentSkipListMap<>();
    private final AtomicInteger reads = new AtomicInteger();

    /** Positional reads so far. */
    public int reads() {
        return reads.get();
    }

    /** Keys of all objects. */
    public List<String> keys() {
        return List.copyOf(objects.keySet());
    }

    @Override
    public String location() {
        return "fake:";
    }

    @Override
    public OutputStream create(String path) {
        return new ByteArrayOutputStream() {
            @Override
            public void close() {
                objects.put(path, toByteArray());
            }
        };
    }

    @Override
    public StorageInput open(String path) throws IOException {
        byte[] bytes = objects.get(path);
        if (bytes == null) {
            throw new FileNotFoundException(path);
        }
        return new StorageInput() {
            @Override
            public long length() {
                return bytes.length;
            }

            @Override
            public void readFully(long position, byte[] target, int offset, int count) throws IOException {
                reads.incrementAndGet();
                if (position + count > bytes.length) {
                    throw new EOFException(path);
                }
                System.arraycopy(bytes, (int) position, target, offset, count);
            }

            @Override
            public void close() {
                // Nothing is open.
            }
        };
    }

    @Override
    public boolean exists(String path) {
        return objects.containsKey(path) || !list(path).isEmpty();
    }

    @Override
    public List<String> list(String folder) {
        return objects.keySet().stream()
                .filter(key -> key.startsWith(folder + "/"))
                .map(key -> key.substring(folder.length() + 1).split("/", -1)[0])
                .distinct()
                .sorted()
                .toList();
    }

    @Override
    public void rename(String from, String to) throws IOException {
        byte[] bytes = objects.get(from);
        if (bytes == null) {
            throw new IOException("cannot rename " + from + ": object stores have no folders");
        }
        objects.put(to, bytes);
        objects.remove(from);
    }

    @Override
    public void delete(String path) {
        objects.keySet().removeIf(key -> key.equals(path) || key.startsWith(path + "/"));
    }
}
