package io.fourfold.config;

import java.util.List;

/** A configuration that cannot be used, with everything that is wrong with it at once. */
public final class ConfigException extends RuntimeException {
    private final transient List<Problem> problems;

    public ConfigException(List<Problem> problems) {
        super(message(problems));
        this.problems = List.copyOf(problems);
    }

    /** Errors and warnings in the order found. */
    public List<Problem> problems() {
        return problems;
    }

    private static String message(List<Problem> problems) {
        long errors = problems.stream().filter(Problem::isError).count();
        StringBuilder text = new StringBuilder("the configuration has ")
                .append(errors)
                .append(errors == 1 ? " problem:" : " problems:");
        for (Problem problem : problems) {
            text.append(problem.isError() ? "\n  " : "\n  warning: ")
                    .append(problem.toString().replace("\n", "\n  "));
        }
        return text.toString();
    }
}
