package io.fourfold.spark;

import io.fourfold.checkpoint.RunStorage;
import io.fourfold.config.ConfigLoader;
import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.DataException;
import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.TokenizerSource;
import io.fourfold.spark.PreflightReport.Finding;
import io.fourfold.spark.PreflightReport.Kind;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import org.apache.spark.SparkEnv;
import org.apache.spark.api.java.function.Function;
import org.apache.spark.deploy.SparkHadoopUtil;
import org.jspecify.annotations.Nullable;

/**
 * Looks at an executor from inside, in a task of a small job: Java options, run folder, shards, tokenizer library, GPU.
 *
 * @param id of this check; an executor with several slots looks once
 * @param configYaml the resolved configuration
 * @param token file that the driver has written into the run folder, with its own name as content
 * @param tokenizer to be loaded here, or null
 * @param gpu true when ranks will take a GPU
 */
record ExecutorProbe(
        String id,
        String configYaml,
        RankSetup setup,
        String token,
        @Nullable TokenizerSource tokenizer,
        boolean gpu) implements Function<Integer, ExecutorProbe.Result> {
    private static final long serialVersionUID = 1;
    private static final ConcurrentMap<String, Result> DONE = new ConcurrentHashMap<>();

    /**
     * @param executor id and host
     */
    record Result(String executor, List<Finding> problems) implements java.io.Serializable {
        private static final long serialVersionUID = 1;
    }

    @Override
    public Result call(Integer task) {
        String executor = SparkEnv.get().executorId();
        return DONE.computeIfAbsent(id + "/" + executor, key -> look(executor));
    }

    private Result look(String executor) {
        String host = SparkEnv.get().blockManager().blockManagerId().host();
        String where = "executor " + executor + " on " + host;
        FourfoldConfig config = ConfigLoader.parse("config.yaml", configYaml).config();
        List<Finding> problems = new ArrayList<>(SettingsCheck.ofThisJvm(where, "spark.executor.extraJavaOptions"));
        runFolder(config, where, problems);
        data(config, where, problems);
        if (tokenizer != null) {
            tokenizer(tokenizer, where, problems);
        }
        if (gpu) {
            gpu(config, where, problems);
        }
        return new Result(where, List.copyOf(problems));
    }

    private void runFolder(FourfoldConfig config, String where, List<Finding> problems) {
        String dir = config.run().dir();
        try {
            RunStorage run = RunFolders.open(dir, SparkHadoopUtil.get().conf());
            if (!run.exists(token)) {
                problems.add(new Finding(
                        Kind.SETUP,
                        where,
                        "the run folder " + run.location()
                                + " is not the driver's: a file that the driver wrote there is" + " missing",
                        "Set run.dir to a folder that all machines share"));
                return;
            }
            String mine = ".write-check-" + UUID.randomUUID();
            run.writeText(mine, mine);
            boolean same = new String(run.readAll(mine), StandardCharsets.UTF_8).equals(mine);
            run.delete(mine);
            if (!same) {
                throw new IOException("what was written reads differently");
            }
        } catch (IOException | RuntimeException e) {
            problems.add(new Finding(
                    Kind.SETUP,
                    where,
                    "cannot write into the run folder " + dir + ": " + FailureReason.of(e),
                    "Give the executors' user the right to write there, or set another run.dir"));
        }
    }

    private void data(FourfoldConfig config, String where, List<Finding> problems) {
        try {
            setup.probeData(config);
        } catch (DataException e) {
            problems.add(new Finding(Kind.DATA, where, sentence(e), "Executors read data.prepared by themselves"));
        }
    }

    private static void tokenizer(TokenizerSource source, String where, List<Finding> problems) {
        try (Tokenizer opened = source.open()) {
            if (opened.vocabSize() < 1) {
                throw new DataException("it has no vocabulary");
            }
        } catch (RuntimeException | LinkageError e) {
            problems.add(new Finding(
                    Kind.DATA,
                    where,
                    "the tokenizer " + source.name() + " cannot be loaded: " + e,
                    "Its native library is unpacked into the user's home or DJL_CACHE_DIR: make that writable, without"
                            + " noexec"));
        }
    }

    private void gpu(FourfoldConfig config, String where, List<Finding> problems) {
        try {
            setup.accelerator(config, 0);
        } catch (RuntimeException | LinkageError e) {
            problems.add(new Finding(Kind.LAUNCH, where, sentence(e), "Or set run.backend to cpu"));
        }
    }

    private static String sentence(Throwable e) {
        String text = String.valueOf(e.getMessage());
        return text.endsWith(".") ? text.substring(0, text.length() - 1) : text;
    }
}
