package io.fourfold.cli;

import io.fourfold.checkpoint.CheckpointException;
import io.fourfold.config.ConfigException;
import io.fourfold.config.FailureReason;
import io.fourfold.data.DataException;
import io.fourfold.hf.HfException;
import io.fourfold.kernels.comm.CommunicationException;
import io.fourfold.train.TrainingException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import org.jspecify.annotations.Nullable;

/** Turns an exception into one block on standard error and an exit code. */
final class Failure {
    private static final int MAX_CAUSES = 32;

    private Failure() {}

    /**
     * @param verbose also print the stack trace
     */
    static ExitCode report(Throwable failure, boolean verbose, PrintWriter err) {
        ExitCode code = code(failure);
        err.println("fourfold: " + message(failure, code));
        if (verbose) {
            failure.printStackTrace(err);
        } else if (code == ExitCode.UNEXPECTED) {
            err.println("    (--verbose shows where this comes from)");
        }
        err.flush();
        return code;
    }

    /** The most specific known exception among the causes decides: a rank that failed on its data is a data error. */
    static ExitCode code(Throwable failure) {
        ExitCode outer = ExitCode.UNEXPECTED;
        Throwable at = failure;
        for (int i = 0; at != null && i < MAX_CAUSES; i++) {
            if (at instanceof ConfigException || at instanceof UsageException || lacksSpark(at)) {
                return ExitCode.USAGE;
            } else if (at instanceof DataException) {
                return ExitCode.DATA;
            } else if (at instanceof CheckpointException) {
                return ExitCode.CHECKPOINT;
            } else if (at instanceof HfException) {
                return ExitCode.CONVERSION;
            } else if (at instanceof TrainingException || at instanceof CommunicationException) {
                outer = ExitCode.TRAINING;
            }
            at = at.getCause();
        }
        return outer;
    }

    private static boolean lacksSpark(Throwable failure) {
        return failure instanceof NoClassDefFoundError
                && String.valueOf(failure.getMessage()).startsWith("org/apache/spark/");
    }

    private static String message(Throwable failure, ExitCode code) {
        if (lacksSpark(failure)) {
            return "this command needs Spark, which is not on the class path. Start it with spark-submit, or from a bundle"
                    + " made by scripts/bundle --spark";
        }
        Throwable memory = cause(failure, OutOfMemoryError.class);
        if (memory != null) {
            return "out of memory (" + memory.getMessage() + "). 'fourfold plan' says how much the run needs; raise the"
                    + " heap (FOURFOLD_HEAP=8g, or spark.driver.memory), or lower train.micro_batch_size";
        }
        if (code == ExitCode.UNEXPECTED) {
            Throwable io = failure instanceof UncheckedIOException ? failure.getCause() : failure;
            if (io instanceof IOException) {
                return FailureReason.of(io) + ". Check that the path exists, is readable and the disk has space";
            }
            return "unexpected error: " + failure;
        }
        return String.valueOf(failure.getMessage());
    }

    private static @Nullable Throwable cause(Throwable failure, Class<? extends Throwable> type) {
        Throwable at = failure;
        for (int i = 0; at != null && i < MAX_CAUSES; i++) {
            if (type.isInstance(at)) {
                return at;
            }
            at = at.getCause();
        }
        return null;
    }
}
