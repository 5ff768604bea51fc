package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.checkpoint.StorageInput;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.OutputStream;
import java.util.Arrays;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/** A run folder on any file system that Hadoop knows: {@code hdfs:}, {@code s3a:} and others. */
public final class HadoopRunStorage implements RunStorage {
    private final Path folder;
    private final FileSystem files;

    public HadoopRunStorage(String uri, Configuration configuration) throws IOException {
        Path path = new Path(uri);
        files = path.getFileSystem(configuration);
        folder = files.makeQualified(path);
    }

    @Override
    public String location() {
        return folder.toString();
    }

    @Override
    public OutputStream create(String path) throws IOException {
        return files.create(resolve(path), true);
    }

    @Override
    public StorageInput open(String path) throws IOException {
        Path file = resolve(path);
        long length = files.getFileStatus(file).getLen();
        FSDataInputStream input = files.open(file);
        return new StorageInput() {
            @Override
            public long length() {
                return length;
            }

            @Override
            public void readFully(long position, byte[] target, int offset, int count) throws IOException {
                input.readFully(position, target, offset, count);
            }

            @Override
            public void close() throws IOException {
                input.close();
            }
        };
    }

    @Override
    public boolean exists(String path) throws IOException {
        return files.exists(resolve(path));
    }

    @Override
    public List<String> list(String path) throws IOException {
        try {
            return Arrays.stream(files.listStatus(resolve(path)))
                    .map(status -> status.getPath().getName())
                    .sorted()
                    .toList();
        } catch (FileNotFoundException e) {
            return List.of();
        }
    }

    @Override
    public void rename(String from, String to) throws IOException {
        Path target = resolve(to);
        if (files.exists(target)) {
            throw new IOException("cannot rename " + from + ": " + target + " exists");
        }
        if (!files.rename(resolve(from), target)) {
            throw new IOException("the file system refused to rename " + resolve(from) + " to " + target);
        }
    }

    @Override
    public void delete(String path) throws IOException {
        Path target = resolve(path);
        if (!files.delete(target, true) && files.exists(target)) {
            throw new IOException("the file system refused to delete " + target);
        }
    }

    private Path resolve(String path) {
        return new Path(folder, path);
    }
}
