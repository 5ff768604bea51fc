package io.fourfold.spark;

import io.fourfold.checkpoint.LocalRunStorage;
import io.fourfold.checkpoint.RunStorage;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.util.Optional;
import org.apache.hadoop.conf.Configuration;

/** Opens the folder that {@code run.dir} names. */
public final class RunFolders {
    private RunFolders() {}

    /**
     * @param dir a path or a {@code file:} URI for local disk, another URI for a Hadoop file system
     * @param hadoop settings of Hadoop file systems
     */
    public static RunStorage open(String dir, Configuration hadoop) throws IOException {
        Optional<Path> local = localPath(dir);
        return local.isPresent() ? new LocalRunStorage(local.get()) : new HadoopRunStorage(dir, hadoop);
    }

    /** The folder as a local path; empty when it is on a Hadoop file system. */
    public static Optional<Path> localPath(String dir) {
        if (dir.startsWith("file:")) {
            return Optional.of(Path.of(URI.create(dir).getPath()));
        }
        return dir.contains(":/") ? Optional.empty() : Optional.of(Path.of(dir));
    }
}
