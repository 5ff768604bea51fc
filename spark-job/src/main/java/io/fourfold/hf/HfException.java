package io.fourfold.hf;

import java.util.List;

/** A Hugging Face folder or an export that cannot work. The message says which file, why, and what to do. */
public final class HfException extends RuntimeException {
    public HfException(String message) {
        super(message);
    }

    public HfException(String message, Throwable cause) {
        super(message, cause);
    }

    /** One message with every problem on a line of its own. */
    static HfException of(String what, List<String> problems, String next) {
        return new HfException(what + ":\n  - " + String.join("\n  - ", problems) + "\n" + next);
    }
}
