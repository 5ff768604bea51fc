package io.fourfold.kernels.cuda;

import io.fourfold.kernels.RepeatedWork;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.bytedeco.cuda.cudart.CUgraph_st;
import org.bytedeco.cuda.global.cudart;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Work that repeats, as CUDA graphs. The first time a piece of work comes with memory as it is, it is queued piece by piece;
 * the second time it is recorded, twice: with other numbers and with its own, so that the arguments that hold numbers show,
 * and with them everything else that would change. From then on the graph is launched.
 *
 * <p>A graph holds addresses. It is used only while the same memory is in use when the work begins as when it was recorded
 * ({@link CudaArena#inUse}): then the arena would hand out the same addresses again, and those that the graph uses are free.
 *
 * <p>What cannot be recorded is queued piece by piece as before, and the log says why.
 */
final class CudaGraphs implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(CudaGraphs.class);
    /** A training run has about two at a time; each graph holds some memory. */
    private static final int CAPACITY = 32;
    /** So many times in a row nothing came back. */
    private static final int STRANGERS = 3 * CAPACITY;

    private static final boolean SYNCHRONOUS = Boolean.getBoolean("fourfold.cuda.sync");

    private record Key(Object work, long memory) {}

    /** What is known of a piece of work: nothing but that it was met, its graph, or that it has none. */
    private static final class Known {
        private @Nullable CudaGraph graph;
        private boolean refused;
    }

    private final CudaDevice device;
    private final CudaArena arena;
    private final Map<Key, Known> known = new LinkedHashMap<>(CAPACITY, 0.75f, true);
    private final Set<String> told = new HashSet<>();
    private int strangers;
    private long replays;

    CudaGraphs(CudaDevice device, CudaArena arena) {
        this.device = device;
        this.arena = arena;
    }

    /** How often work was queued as a graph. */
    long replays() {
        return replays;
    }

    /** As {@link io.fourfold.kernels.Backend#repeat}. A trace may want to see the pieces, see {@link CudaTrace#start}. */
    boolean repeat(RepeatedWork work) {
        if (SYNCHRONOUS || strangers > STRANGERS || device.trace().wantsPieces()) {
            work.queue(work.numbers());
            return true;
        }
        Key key = new Key(work.key(), arena.inUse());
        Known entry = known.get(key);
        if (entry == null) {
            remember(key);
            work.queue(work.numbers());
            return true;
        }
        strangers = 0;
        CudaGraph graph = entry.graph;
        if (graph != null) {
            graph.launch(work.numbers());
            replays++;
            return false;
        }
        if (!entry.refused) {
            graph = record(work, key.memory);
            entry.graph = graph;
            entry.refused = graph == null;
        }
        if (graph == null) {
            work.queue(work.numbers());
        } else {
            graph.launch(work.numbers());
        }
        return true;
    }

    private void remember(Key key) {
        if (++strangers > STRANGERS) {
            tell("no piece of work came back soon: memory lies elsewhere in every step, or a step has more pieces than "
                    + CAPACITY);
        }
        if (known.size() >= CAPACITY) {
            Map.Entry<Key, Known> oldest = known.entrySet().iterator().next();
            known.remove(oldest.getKey());
            close(oldest.getValue());
        }
        known.put(key, new Known());
    }

    /** Null when the work cannot be recorded; nothing was run then. */
    private @Nullable CudaGraph record(RepeatedWork work, long memory) {
        int[] numbers = work.numbers();
        int[] others = work.otherNumbers();
        try {
            for (int i = 0; i < numbers.length; i++) {
                if (numbers[i] == others[i]) {
                    throw new RecordedLaunch.Changes("number " + i + " has no other value than " + numbers[i]);
                }
            }
            List<RecordedLaunch> trial = trial(work, others);
            try (GraphRecorder recorder = new GraphRecorder(device)) {
                work.queue(numbers);
                CUgraph_st graph = recorder.end();
                return made(graph, recorder.launches(), trial, numbers, others, memory);
            }
        } catch (CudaException | RecordedLaunch.Changes e) {
            tell(String.valueOf(e.getMessage()));
            return null;
        }
    }

    /** What the work launches with other numbers; the graph is not kept. */
    private List<RecordedLaunch> trial(RepeatedWork work, int[] numbers) {
        try (GraphRecorder recorder = new GraphRecorder(device)) {
            work.queue(numbers);
            return List.copyOf(recorder.launches());
        }
    }

    private CudaGraph made(
            CUgraph_st graph,
            List<RecordedLaunch> launches,
            List<RecordedLaunch> trial,
            int[] numbers,
            int[] others,
            long memory) {
        try {
            if (arena.inUse() != memory) {
                throw new RecordedLaunch.Changes("the work keeps memory");
            }
            long free = device.freeBytes();
            CudaGraph made = new CudaGraph(device, graph, launches, slots(launches, trial, numbers, others), numbers);
            if (told.add("")) {
                LOG.info(
                        "{} launches and {} products and fills are one CUDA graph of {} MiB from now on; {} of the launches"
                                + " get new arguments each time",
                        made.launches(),
                        made.nodes() - made.launches(),
                        (free - device.freeBytes()) >> 20,
                        made.changing());
            }
            return made;
        } catch (RuntimeException e) {
            CudaDevice.check(cudart.cuGraphDestroy(graph), "cuGraphDestroy");
            throw e;
        }
    }

    private static List<List<RecordedLaunch.Slot>> slots(
            List<RecordedLaunch> launches, List<RecordedLaunch> trial, int[] numbers, int[] others) {
        if (launches.size() != trial.size()) {
            throw new RecordedLaunch.Changes("it is " + launches.size() + " or " + trial.size() + " launches");
        }
        List<List<RecordedLaunch.Slot>> slots = new ArrayList<>();
        for (int i = 0; i < launches.size(); i++) {
            slots.add(launches.get(i).slots(trial.get(i), numbers, others));
        }
        return slots;
    }

    private void tell(String reason) {
        if (told.add(reason)) {
            LOG.warn("no CUDA graph: {}; kernels are launched one by one", reason);
        }
    }

    private static void close(Known entry) {
        CudaGraph graph = entry.graph;
        if (graph != null) {
            graph.close();
        }
    }

    @Override
    public void close() {
        known.values().forEach(CudaGraphs::close);
        known.clear();
    }
}
