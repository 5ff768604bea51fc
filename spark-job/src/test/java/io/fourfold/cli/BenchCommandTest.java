package io.fourfold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.cuda.CudaDevice;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BenchCommandTest {
    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    private int run(String arguments) {
        return runOn("cpu", arguments);
    }

    private int runOn(String backend, String arguments) {
        List<String> words = new ArrayList<>(List.of("bench", "--backend", backend, "--steps", "T"));
        words.addAll(List.of(arguments.split(" ")));
        return Fourfold.run(new PrintWriter(out, true), new PrintWriter(err, true), words.toArray(String[]::new));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--mapping DP2 | --mapping needs --ranks of at least 2",
                "--mapping EP2 | --mapping needs --ranks of at least 2",
                "--ranks 2 --mapping DP3 | --mapping: 'DP3': data parallelism is what is left of the 2 ranks, here DP2",
                "--ranks 2 --mapping XX | --mapping: 'XX' is no part of a mapping; write TPn, CPn, PPn, Vn, EPn, ETPn",
                "--ranks 2 --mapping EP | --mapping: 'EP' is no part of a mapping",
                "--ranks 2 --mapping W4 | the settings ask for 4 ranks; give their number with --ranks alone",
                "--ranks 2 --mapping EP3 | fourfold: the configuration has",
                "--ranks 2 --set foo=1 | fourfold: the configuration has 1 problem:",
                "--set foo=1 | fourfold: the configuration has 1 problem:",
                "--set parallel.world_size=2 | give their number with --ranks alone",
                "--set run.backend=cuda | use --backend cpu or --backend cuda",
                "--ranks 0 | must be at least 1",
                "--ranks -3 | must be at least 1",
                "--threads 0 | must be at least 1",
                "--gpu -1 | --gpu counts from 0",
                "--operations collectives --ranks 2 | collectives are compared with NCCL and need GPUs",
                "--operations gemm --set model.layers=1 | which --set and --mapping do not change",
                "--operations gemm --ranks 2 | --ranks measures steps, or --operations collectives",
            })
    void whatCannotBeMeasuredIsRefusedBeforeAnyTable(String arguments, String message) {
        assertThat(run(arguments)).isEqualTo(ExitCode.USAGE.number());
        assertThat(err.toString()).contains(message).doesNotContain("Exception", "a rank failed");
        assertThat(out.toString()).isEmpty();
    }

    @Test
    void gpusThatAreNotThereAreRefused() {
        assertThat(runOn("cuda", "--gpu 1000")).isEqualTo(ExitCode.USAGE.number());
        assertThat(err.toString())
                .contains(
                        CudaDevice.unavailableBecause() == null
                                ? "--gpu 1000 needs 1001 GPUs"
                                : "--backend cuda finds no GPU; use --backend cpu")
                .doesNotContain("run.backend");
    }

    @Test
    void threeRanksNeedNoSettingsAndDataParallelismMayBeNamed() {
        assertThat(run("--ranks 3 --mapping DP3 --recipes bf16 --warm-ups 1 --runs 1"))
                .as(err.toString())
                .isZero();
        assertThat(out.toString()).contains("T   bf16       3 DP3");
    }
}
