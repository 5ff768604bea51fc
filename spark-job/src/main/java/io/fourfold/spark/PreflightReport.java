package io.fourfold.spark;

import io.fourfold.data.DataException;
import io.fourfold.train.TrainingException;
import java.io.Serializable;
import java.util.List;
import java.util.stream.Collectors;

/**
 * What was checked before a gang starts, with everything that stands in its way.
 *
 * @param master where Spark runs
 * @param ranks tasks that must run at the same moment
 * @param slots tasks that Spark can run at the same moment
 * @param busy slots that other jobs of this application hold now
 * @param executors that were asked, with their hosts
 * @param gpus true when each rank takes a GPU from Spark
 * @param problems all of them
 * @param seconds that the checks took
 */
public record PreflightReport(
        String master,
        int ranks,
        int slots,
        int busy,
        List<String> executors,
        boolean gpus,
        List<Finding> problems,
        double seconds) {
    /** What kind of thing is wrong. */
    public enum Kind {
        /** Spark cannot start the gang, or would later end it. */
        LAUNCH,
        /** The run folder. */
        SETUP,
        /** Prepared data or the tokenizer. */
        DATA,
        /** Works, but not well. */
        WARNING
    }

    /**
     * @param where driver, Spark's settings, or an executor and its host
     * @param problem what is wrong
     * @param fix what to do
     */
    public record Finding(Kind kind, String where, String problem, String fix) implements Serializable {
        private static final long serialVersionUID = 1;

        @Override
        public String toString() {
            return where + ": " + problem + ". " + fix;
        }
    }

    public PreflightReport {
        executors = List.copyOf(executors);
        problems = List.copyOf(problems);
    }

    /** Problems that training would fail on. */
    public List<Finding> errors() {
        return problems.stream()
                .filter(finding -> finding.kind() != Kind.WARNING)
                .toList();
    }

    /**
     * @throws DataException when all errors are of the data
     * @throws TrainingException on other errors, with all of them in its message
     */
    public void throwIfBlocked() {
        List<Finding> errors = errors();
        if (errors.isEmpty()) {
            return;
        }
        String text = errors.size() == 1
                ? errors.get(0).toString()
                : errors.size() + " problems before the start:\n"
                        + errors.stream().map(error -> "  - " + error).collect(Collectors.joining("\n"));
        if (errors.stream().allMatch(error -> error.kind() == Kind.DATA)) {
            throw new DataException(text);
        }
        boolean launch = errors.stream().anyMatch(error -> error.kind() == Kind.LAUNCH);
        throw new TrainingException(
                launch ? TrainingException.Code.TRAIN_LAUNCH : TrainingException.Code.TRAIN_SETUP, text);
    }
}
