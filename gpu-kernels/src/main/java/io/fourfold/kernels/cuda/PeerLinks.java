package io.fourfold.kernels.cuda;

import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.Shape;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The {@link PeerLink}s of a rank, made at their first use. A group has none when its ranks are on several hosts, or processes
 * that do not share {@code /dev/shm}, or GPUs without access to each other, or when {@code -Dfourfold.peer.copies=false} says so;
 * NCCL then carries its messages.
 */
final class PeerLinks implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(PeerLinks.class);
    private static final String SWITCH = "fourfold.peer.copies";

    private final CudaRuntime cuda;
    private final PeerMemory memory;
    private final Map<NcclSide, Map<List<Integer>, Optional<PeerLink>>> links = new EnumMap<>(NcclSide.class);
    private final List<PeerLink> all = new CopyOnWriteArrayList<>();

    /** @param oneProcess whether all ranks are threads of this process */
    PeerLinks(CudaRuntime cuda, boolean oneProcess) {
        this.cuda = cuda;
        memory = new PeerMemory(cuda.device(), cuda.memory().arena(), oneProcess);
    }

    /** The link of a group on one of its sides; collective at first. Null when there can be none. */
    @Nullable
    PeerLink link(Communicator host, List<Integer> members, NcclSide side) {
        return links.computeIfAbsent(side, s -> new HashMap<>())
                .computeIfAbsent(members, m -> Optional.ofNullable(open(host, members)))
                .orElse(null);
    }

    /** Every rank takes each step, or none takes the next one. */
    private @Nullable PeerLink open(Communicator host, List<Integer> members) {
        long nonce = new SecureRandom().nextLong();
        boolean wanted = wanted();
        int[] told = {(int) (nonce >>> 32), (int) nonce};
        CpuTensor words = CpuTensor.ofInts(told, Shape.of(2));
        host.broadcast(words, 0);
        long name = (long) words.ints()[0] << 32 | words.ints()[1] & 0xffffffffL;
        Path file = PeerBoard.FOLDER.resolve("fourfold-" + Long.toHexString(name));
        try {
            String trouble = wanted ? null : "-D" + SWITCH + "=false";
            if (trouble == null && host.rank() == 0) {
                trouble = attempt(() -> PeerBoard.create(file, members.size(), name));
            }
            if (!agreed(host, trouble)) {
                return null;
            }
            PeerBoard[] opened = new PeerBoard[1];
            trouble = attempt(
                    () -> opened[0] = PeerBoard.open(file, members.size(), name).register());
            if (agreed(host, trouble) && agreed(host, reach(host, members))) {
                PeerLink link = new PeerLink(opened[0], memory, members, host.rank());
                if (agreed(host, attempt(() -> link.probe(cuda.device().stream())))) {
                    all.add(link);
                    return link;
                }
            }
            if (opened[0] != null) {
                opened[0].close();
            }
            return null;
        } finally {
            if (host.rank() == 0) {
                remove(file); // every rank has opened it, or nobody will
            }
        }
    }

    /** What the switch says; on is the default. */
    static boolean wanted() {
        String value = System.getProperty(SWITCH, "true");
        if (!value.equals("true") && !value.equals("false")) {
            throw new IllegalArgumentException("-D" + SWITCH + "=" + value + ": must be true or false");
        }
        return value.equals("true");
    }

    /** Tries to get at every other rank's memory; null when that works. */
    private @Nullable String reach(Communicator host, List<Integer> members) {
        CpuTensor ordinals = CpuTensor.ofInts(new int[members.size()], Shape.of(members.size()));
        host.allGather(CpuTensor.ofInts(new int[] {cuda.device().ordinal()}, Shape.of(1)), ordinals);
        if (memory.oneProcess()) {
            return attempt(
                    () -> memory.access(Arrays.stream(ordinals.ints()).boxed().toList()));
        }
        int words = PeerMemory.Place.WORDS;
        int[][] own = {new int[words]};
        CpuTensor places = CpuTensor.ofInts(new int[words * members.size()], Shape.of(words * members.size()));
        String trouble = attempt(() -> own[0] = memory.anyPlace().words());
        host.allGather(CpuTensor.ofInts(own[0], Shape.of(words)), places);
        for (int peer = 0; peer < members.size() && trouble == null; peer++) {
            int at = peer;
            if (peer != host.rank()) {
                trouble = attempt(() -> memory.open(members.get(at), PeerMemory.Place.of(places.ints(), at * words)));
            }
        }
        return trouble;
    }

    private interface Step {
        void run() throws IOException;
    }

    private static @Nullable String attempt(Step step) {
        try {
            step.run();
            return null;
        } catch (IOException | CudaException | UnsupportedOperationException e) {
            return e.toString();
        }
    }

    /** Whether no rank has trouble. */
    private static boolean agreed(Communicator host, @Nullable String trouble) {
        if (trouble != null) {
            LOG.info("group {}: messages between GPUs go through NCCL: {}", host.name(), trouble);
        }
        CpuTensor failed = CpuTensor.ofInts(new int[] {trouble == null ? 0 : 1}, Shape.of(1));
        host.allReduce(failed, ReduceOp.MAX);
        return failed.ints()[0] == 0;
    }

    private static void remove(Path file) {
        try {
            Files.deleteIfExists(file);
        } catch (IOException e) {
            LOG.warn("{} could not be deleted: {}", file, e.toString());
        }
    }

    /** See {@link PeerLink#release}. */
    void release() {
        all.forEach(PeerLink::release);
    }

    /** See {@link PeerLink#abandon}. */
    void abandon() {
        all.forEach(PeerLink::abandon);
    }

    /** Nothing is under way. */
    @Override
    public void close() {
        all.forEach(PeerLink::close);
        memory.close();
    }
}
