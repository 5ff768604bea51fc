package io.fourfold.checkpoint;

import java.io.BufferedOutputStream;
import java.io.EOFException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.stream.Stream;

/** A run folder on a local or mounted file system. Files are forced to disk when they are closed. */
public final class LocalRunStorage implements RunStorage {
    private static final int BUFFER_BYTES = 1 << 20;

    private final Path folder;

    public LocalRunStorage(Path folder) {
        this.folder = folder.toAbsolutePath().normalize();
    }

    @Override
    public String location() {
        return folder.toString();
    }

    @Override
    public OutputStream create(String path) throws IOException {
        Path file = resolve(path);
        Files.createDirectories(file.getParent());
        FileOutputStream stream = new FileOutputStream(file.toFile());
        return new BufferedOutputStream(stream, BUFFER_BYTES) {
            private boolean closed;

            @Override
            public void close() throws IOException {
                if (closed) {
                    return;
                }
                closed = true;
                try (stream) {
                    flush();
                    stream.getFD().sync();
                }
            }
        };
    }

    @Override
    public StorageInput open(String path) throws IOException {
        FileChannel channel = FileChannel.open(resolve(path), StandardOpenOption.READ);
        return new StorageInput() {
            @Override
            public long length() throws IOException {
                return channel.size();
            }

            @Override
            public void readFully(long position, byte[] target, int offset, int count) throws IOException {
                ByteBuffer buffer = ByteBuffer.wrap(target, offset, count);
                long next = position;
                while (buffer.hasRemaining()) {
                    int read = channel.read(buffer, next);
                    if (read < 0) {
                        throw new EOFException(
                                path + " ends at byte " + next + ", " + buffer.remaining() + " more were expected");
                    }
                    next += read;
                }
            }

            @Override
            public void close() throws IOException {
                channel.close();
            }
        };
    }

    @Override
    public boolean exists(String path) {
        return Files.exists(resolve(path));
    }

    @Override
    public List<String> list(String path) throws IOException {
        try (Stream<Path> children = Files.list(resolve(path))) {
            return children.map(child -> child.getFileName().toString())
                    .sorted()
                    .toList();
        } catch (NoSuchFileException e) {
            return List.of();
        }
    }

    @Override
    public void rename(String from, String to) throws IOException {
        Files.move(resolve(from), resolve(to), StandardCopyOption.ATOMIC_MOVE);
    }

    @Override
    public void delete(String path) throws IOException {
        Path root = resolve(path);
        if (!Files.exists(root)) {
            return;
        }
        Files.walkFileTree(root, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                Files.delete(file);
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult postVisitDirectory(Path visited, IOException failure) throws IOException {
                if (failure != null) {
                    throw failure;
                }
                Files.delete(visited);
                return FileVisitResult.CONTINUE;
            }
        });
    }

    private Path resolve(String path) {
        Path resolved = folder.resolve(path).normalize();
        if (!resolved.startsWith(folder)) {
            throw new IllegalArgumentException(path + " leaves " + folder);
        }
        return resolved;
    }
}
