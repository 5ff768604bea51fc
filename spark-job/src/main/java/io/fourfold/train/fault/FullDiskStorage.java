package io.fourfold.train.fault;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.checkpoint.StorageInput;
import io.fourfold.config.FaultSpec;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A run folder without space for the checkpoints of some steps. All else can be written. */
final class FullDiskStorage implements RunStorage {
    private static final Pattern CHECKPOINT = Pattern.compile("(?:^|/)step-(\\d+)");
    private static final int BYTES_THAT_FIT = 100;

    private final RunStorage disk;
    private final List<FaultSpec> faults;
    private final FaultMemory memory;
    private int fullAtStep = -1;

    FullDiskStorage(RunStorage disk, List<FaultSpec> faults, FaultMemory memory) {
        this.disk = disk;
        this.faults = faults;
        this.memory = memory;
    }

    @Override
    public OutputStream create(String path) throws IOException {
        Matcher matcher = CHECKPOINT.matcher(path);
        return matcher.find() && isFull(Integer.parseInt(matcher.group(1)))
                ? new FullStream(disk.create(path))
                : disk.create(path);
    }

    /** One strike fills the disk for all files of one checkpoint. */
    private synchronized boolean isFull(int step) {
        for (FaultSpec fault : faults) {
            if (step != fullAtStep && step >= fault.step() && memory.take(fault, step)) {
                fullAtStep = step;
            }
        }
        return step == fullAtStep;
    }

    /** Takes the first bytes, so that a file is left half written. */
    private static final class FullStream extends OutputStream {
        private final OutputStream out;
        private long free = BYTES_THAT_FIT;

        FullStream(OutputStream out) {
            this.out = out;
        }

        @Override
        public void write(int b) throws IOException {
            write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int count) throws IOException {
            if (count > free) {
                throw new IOException("No space left on device (injected)");
            }
            free -= count;
            out.write(bytes, offset, count);
        }

        @Override
        public void close() throws IOException {
            out.close();
        }
    }

    @Override
    public String location() {
        return disk.location();
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
