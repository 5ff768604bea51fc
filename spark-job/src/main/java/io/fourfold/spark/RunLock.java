package io.fourfold.spark;

import io.fourfold.config.FailureReason;
import io.fourfold.train.TrainingException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.jspecify.annotations.Nullable;

/**
 * Keeps two drivers from training into one local run folder at the same time. The operating system holds the lock and drops
 * it when the process ends, however it ends, so a lock is never stale. The file {@code train.lock} stays; it names the last
 * holder.
 */
final class RunLock implements AutoCloseable {
    static final String FILE = "train.lock";

    private final FileChannel channel;

    private RunLock(FileChannel channel) {
        this.channel = channel;
    }

    /**
     * @throws TrainingException if another driver trains into the folder, or the lock file cannot be written
     */
    static RunLock acquire(Path folder) {
        Path file = folder.resolve(FILE);
        try {
            Files.createDirectories(folder);
            FileChannel channel = FileChannel.open(
                    file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
            try {
                if (tryLock(channel) == null) {
                    throw new TrainingException(
                            TrainingException.Code.TRAIN_SETUP,
                            "another process trains into " + folder + " (process "
                                    + Files.readString(file).strip()
                                    + "). Wait for it, create a file STOP there to end it after its step, or choose"
                                    + " another run.dir");
                }
                channel.truncate(0);
                channel.write(
                        StandardCharsets.UTF_8.encode(ProcessHandle.current().pid() + "\n"));
                return new RunLock(channel);
            } catch (IOException | RuntimeException e) {
                channel.close();
                throw e;
            }
        } catch (IOException e) {
            throw new TrainingException(
                    TrainingException.Code.TRAIN_SETUP,
                    "cannot lock " + file + ": " + FailureReason.of(e) + ". Make the run folder writable",
                    e);
        }
    }

    /** Null when another process, or another job of this one, has it. */
    private static @Nullable FileLock tryLock(FileChannel channel) throws IOException {
        try {
            return channel.tryLock();
        } catch (OverlappingFileLockException e) {
            return null;
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            // The process' end releases it all the same.
        }
    }
}
