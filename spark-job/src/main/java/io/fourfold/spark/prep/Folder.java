package io.fourfold.spark.prep;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.LocalFileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;

/** A folder of any Hadoop file system, whose files appear whole or not at all. */
final class Folder {
    private static final String PARTIAL = ".partial-";

    private final FileSystem fileSystem;
    private final Path path;

    private Folder(FileSystem fileSystem, Path path) {
        this.fileSystem = fileSystem;
        this.path = path;
    }

    static Folder of(String uri, Configuration configuration) throws IOException {
        Path path = new Path(uri);
        FileSystem fileSystem = raw(path.getFileSystem(configuration));
        return new Folder(fileSystem, fileSystem.makeQualified(path));
    }

    /** Without the hidden checksum files that Hadoop keeps beside each local file. */
    static FileSystem raw(FileSystem fileSystem) {
        return fileSystem instanceof LocalFileSystem local ? local.getRawFileSystem() : fileSystem;
    }

    Path path() {
        return path;
    }

    Folder child(String name) {
        return new Folder(fileSystem, new Path(path, name));
    }

    boolean exists(String name) throws IOException {
        return fileSystem.exists(new Path(path, name));
    }

    /** Size of a file; -1 when it is not there. */
    long length(String name) throws IOException {
        try {
            return fileSystem.getFileStatus(new Path(path, name)).getLen();
        } catch (FileNotFoundException e) {
            return -1;
        }
    }

    InputStream open(String name) throws IOException {
        return fileSystem.open(new Path(path, name));
    }

    byte[] read(String name) throws IOException {
        try (InputStream in = open(name)) {
            return in.readAllBytes();
        }
    }

    /** Writes a file; does not close the stream. */
    @FunctionalInterface
    interface Content<T> {
        T writeTo(OutputStream out) throws IOException;
    }

    /** Writes beside the file, then puts it in place; an earlier file of the name is replaced. */
    <T> T write(String name, Content<T> content) throws IOException {
        Path partial = new Path(path, PARTIAL + UUID.randomUUID() + "-" + name);
        boolean complete = false;
        try {
            T result;
            try (OutputStream out = fileSystem.create(partial, true)) {
                result = content.writeTo(out);
            }
            Path target = new Path(path, name);
            if (!(fileSystem instanceof RawLocalFileSystem)) {
                // A local rename replaces the file at once; others refuse an existing target.
                fileSystem.delete(target, false);
            }
            if (!fileSystem.rename(partial, target)) {
                throw new IOException("Cannot rename " + partial + " to " + target);
            }
            complete = true;
            return result;
        } finally {
            if (!complete) {
                fileSystem.delete(partial, false);
            }
        }
    }

    void write(String name, byte[] content) throws IOException {
        write(name, out -> {
            out.write(content);
            return content.length;
        });
    }

    void delete(String name) throws IOException {
        fileSystem.delete(new Path(path, name), true);
    }

    /** Names of the files and folders in it, sorted; without what unfinished writes left. */
    List<String> names() throws IOException {
        return list().stream().filter(name -> !name.startsWith(PARTIAL)).toList();
    }

    /** Removes what killed writers left behind. Only when nobody is writing. */
    void deletePartialFiles() throws IOException {
        for (String name : list()) {
            if (name.startsWith(PARTIAL)) {
                delete(name);
            }
        }
    }

    private List<String> list() throws IOException {
        List<String> names = new ArrayList<>();
        try {
            for (FileStatus status : fileSystem.listStatus(path)) {
                names.add(status.getPath().getName());
            }
        } catch (FileNotFoundException e) {
            return names;
        }
        String[] sorted = names.toArray(new String[0]);
        Arrays.sort(sorted);
        return List.of(sorted);
    }
}
