package io.fourfold.config;

import java.util.List;

/** The run folder. Any Hadoop-compatible URI works. */
public record RunConfig(
        @Setting(doc = "Run name.", value = "run") String name,

        @Setting(doc = "Folder of the run.", value = "runs/run")
        String dir,

        @Setting(doc = "cpu, cuda or auto (cuda when a GPU is there and can train this configuration).", value = "auto")
        BackendKind backend,

        @Setting(doc = "OpenBLAS threads per rank (CPU backend).", value = "1", min = 1)
        int cpuThreads,

        @Setting(doc = "How long ranks wait for each other.", value = "{}")
        TimeoutConfig timeouts,

        @Setting(
                doc =
                        "Dense BF16 peak of one device in TFLOP/s, the denominator of MFU; 0 = known for the device or none.",
                value = "0",
                min = 0)
        double peakTflops,

        @Setting(doc = "Checkpoints.", value = "{}") CheckpointConfig checkpoint,

        @Setting(doc = "Report to an MLflow tracking server as well.", value = "{}")
        MlflowConfig mlflow,

        @Setting(doc = "Print a step line every n steps.", value = "10", min = 1)
        int logEvery,

        @Setting(doc = "Write TensorBoard event files.", value = "true")
        boolean tensorboard,

        @Setting(doc = "What happens after a failure.", value = "{}")
        RestartConfig restart,

        @Setting(
                doc =
                        "Faults to inject for tests, each 'kind rank=R step=S times=N seconds=T'; see docs/reliability.md.",
                value = "[]")
        List<String> faults) {
    public RunConfig {
        faults = List.copyOf(faults);
    }

    /** Devices. */
    public enum BackendKind {
        AUTO,
        CPU,
        CUDA
    }

    /** When checkpoints are written and which stay. */
    public record CheckpointConfig(
            @Setting(doc = "Save every n steps; 0 = only at the end.", value = "0", min = 0)
            int every,

            @Setting(doc = "Newest checkpoints to keep.", value = "2", min = 1)
            int keepLast,

            @Setting(
                    doc = "Every n-th checkpoint (of steps divisible by n times every) stays for ever; 0 = none.",
                    value = "0",
                    min = 0)
            int keepEvery,

            @Setting(
                    doc = "Training waits only for a copy to host memory; files are written behind it.",
                    value = "true")
            boolean async,

            @Setting(doc = "Continue from the newest complete checkpoint of the run folder.", value = "true")
            boolean resume) {}

    /** An MLflow tracking server. */
    public record MlflowConfig(
            @Setting(doc = "Address of the server, http or https; empty = none.", value = "''")
            String uri,

            @Setting(doc = "Experiment; made when there is none of this name.", value = "fourfold")
            String experiment) {}
}
