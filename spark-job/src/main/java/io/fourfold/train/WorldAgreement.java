package io.fourfold.train;

import io.fourfold.checkpoint.Agreement;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Region;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Agreement by exchanging texts over a communicator. For rare decisions, not for every step. */
final class WorldAgreement implements Agreement {
    private static final String FINE = "";

    private final Backend backend;
    private final Communicator world;

    WorldAgreement(Backend backend, Communicator world) {
        this.backend = backend;
        this.world = world;
    }

    @Override
    public int rank() {
        return world.rank();
    }

    @Override
    public int size() {
        return world.size();
    }

    @Override
    public @Nullable String firstFailure(@Nullable String failure) {
        // An empty message still is a failure.
        String mine = failure == null ? FINE : failure.isEmpty() ? "unknown failure" : failure;
        return gather(mine).stream()
                .filter(message -> !message.equals(FINE))
                .findFirst()
                .orElse(null);
    }

    @Override
    public String fromFirstRank(String text) {
        return gather(rank() == 0 ? text : "").get(0);
    }

    /** Every rank's text, by rank. */
    List<String> gather(String text) {
        if (world.size() == 1) {
            return List.of(text);
        }
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        int[] elements = new int[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            elements[i] = bytes[i];
        }
        try (TensorScope scope = backend.scope(Region.WORKSPACE)) {
            Tensor length = scope.allocate(DType.INT32, 1);
            Tensor lengths = scope.allocate(DType.INT32, world.size());
            backend.upload(new int[] {elements.length}, length);
            world.allGather(length, lengths);
            long[] counts =
                    Arrays.stream(backend.downloadInts(lengths)).asLongStream().toArray();
            int total = Math.toIntExact(Arrays.stream(counts).sum());
            if (total == 0) {
                return Collections.nCopies(counts.length, "");
            }
            Tensor send = scope.allocate(DType.INT32, elements.length);
            Tensor receive = scope.allocate(DType.INT32, total);
            if (elements.length > 0) {
                backend.upload(elements, send);
            }
            world.allGatherV(send, receive, counts);
            return split(backend.downloadInts(receive), counts);
        }
    }

    private static List<String> split(int[] all, long[] counts) {
        List<String> texts = new ArrayList<>();
        int at = 0;
        for (long count : counts) {
            byte[] bytes = new byte[(int) count];
            for (int i = 0; i < bytes.length; i++) {
                bytes[i] = (byte) all[at++];
            }
            texts.add(new String(bytes, StandardCharsets.UTF_8));
        }
        return texts;
    }
}
