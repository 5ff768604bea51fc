package io.fourfold.hf;

import java.util.List;

/** A Hugging Face folder or an export that cannot work. The message says which file, why, and what to do. */
public final class HfException extends RuntimeException {
    private static final int MAX_SHOWN = 20;

    public HfException(String message) {
        super(message);
    }

    public HfException(String message, Throwable cause) {
        super(message, cause);
    }

    /** One message with every problem on a line of its own; of very many the first ones. */
    static HfException of(String what, List<String> problems, String next) {
        List<String> shown = problems.subList(0, Math.min(problems.size(), MAX_SHOWN));
        String more = problems.size() > MAX_SHOWN ? "\n  - and " + (problems.size() - MAX_SHOWN) + " more" : "";
        return new HfException(what + ":\n  - " + String.join("\n  - ", shown) + more + "\n" + next);
    }
}
