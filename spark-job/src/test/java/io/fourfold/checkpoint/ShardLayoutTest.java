package io.fourfold.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.model.Parameter;
import io.fourfold.model.Piece;
import io.fourfold.model.Sharding;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class ShardLayoutTest {
    /** Experts 2 and 3 of 4, gate and up fused along the inner width: [2, 2 * 3, 5] after a norm of 5. */
    private static final List<Parameter> PARAMETERS = List.of(
            parameter("norm", 0, new Shape(5), List.of(Piece.whole("norm", 0, 5))),
            parameter("gate_up", 5, new Shape(2, 6, 5), List.of(fused("gate", 0), fused("up", 15))));

    @Test
    void everyCutCoversEachElementOnceWhereItLies() {
        long total = 5 + 60;
        for (int ranks = 1; ranks <= 7; ranks++) {
            long padded = (total + ranks - 1) / ranks * ranks;
            for (long bucket = ranks; bucket <= padded; bucket += ranks) {
                Sharding sharding = Sharding.of(padded, ranks, bucket);
                int[] norm = new int[5];
                int[][] seen = new int[2][4 * 3 * 5];
                for (int rank = 0; rank < ranks; rank++) {
                    List<Sharding.Slice> slices = sharding.slices(rank);
                    ShardLayout layout = ShardLayout.of(PARAMETERS, slices);
                    for (ShardLayout.Run run : layout.runs()) {
                        count(run, slices, norm, seen);
                    }
                }
                assertThat(norm).as("%d ranks, buckets of %d", ranks, bucket).containsOnly(1);
                for (int[] counts : seen) {
                    assertThat(Arrays.stream(counts).sum()).isEqualTo(2 * 3 * 5);
                    assertThat(Arrays.copyOf(counts, 2 * 3 * 5))
                            .as("experts of other ranks")
                            .containsOnly(0);
                }
            }
        }
    }

    /** Where an element of a shard lies in the flat buffer. */
    private static long flat(List<Sharding.Slice> slices, long at) {
        Sharding.Slice slice = slices.stream()
                .filter(each -> each.at() <= at && at < each.end())
                .findFirst()
                .orElseThrow();
        return slice.from() + at - slice.at();
    }

    /** Marks the run's elements and checks that each lies where the fused layout says. */
    private static void count(ShardLayout.Run run, List<Sharding.Slice> slices, int[] norm, int[][] seen) {
        PieceRange range = run.range();
        Box holder = new Box(range.offset(), range.extent());
        for (Box box : range.boxes()) {
            Box whole = range.tensor().equals("norm")
                    ? new Box(new long[1], new long[] {5})
                    : new Box(new long[3], new long[] {4, 3, 5});
            box.forEachRun(holder, whole, (inHolder, inTensor, length) -> {
                for (long i = 0; i < length; i++) {
                    long flat = flat(slices, run.at() + inHolder - range.from() + i);
                    int element = (int) (inTensor + i);
                    if (range.tensor().equals("norm")) {
                        assertThat(flat).isEqualTo(element);
                        norm[element]++;
                    } else {
                        int which = range.tensor().equals("gate") ? 0 : 1;
                        int local = element - 2 * 15;
                        assertThat(flat).isEqualTo(5 + local / 15 * 30 + which * 15 + local % 15);
                        seen[which][element]++;
                    }
                }
            });
        }
    }

    private static Piece fused(String name, long localOffset) {
        return new Piece(
                name, new long[] {4, 3, 5}, new long[] {2, 0, 0}, new long[] {2, 3, 5}, localOffset, new long[] {
                    30, 5, 1
                });
    }

    private static Parameter parameter(String name, long offset, Shape shape, List<Piece> pieces) {
        CpuTensor values = CpuTensor.ofFloats(DType.FP32, new float[(int) shape.elements()], shape);
        return new Parameter(name, Parameter.Kind.EXPERT, offset, values, values, true, false, pieces);
    }
}
