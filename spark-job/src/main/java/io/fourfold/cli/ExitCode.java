package io.fourfold.cli;

import java.util.LinkedHashMap;
import java.util.Map;

/** What the process returns; scripts may rely on these numbers. */
public enum ExitCode {
    OK(0, "success"),
    UNEXPECTED(1, "an error that is none of the following; please report it with --verbose"),
    USAGE(2, "wrong command line or configuration; nothing was done"),
    DATA(3, "input text, tokenizer or prepared data missing, damaged or not matching"),
    TRAINING(4, "training could not start or failed; complete checkpoints remain"),
    CHECKPOINT(5, "checkpoint or run folder missing, damaged or of another model"),
    CONVERSION(6, "import or export failed"),
    STOPPED(7, "training was asked to stop before its last step; run it again to continue"),
    UNSAVED(8, "training ended, but its last checkpoint could not be written: the steps since the one before are lost"),
    WRONG_RESULT(9, "a measured operation computed something wrong");

    private final int number;
    private final String meaning;

    ExitCode(int number, String meaning) {
        this.number = number;
        this.meaning = meaning;
    }

    public int number() {
        return number;
    }

    public String meaning() {
        return meaning;
    }

    /** Number and meaning of each, for help texts. */
    static Map<String, String> list() {
        Map<String, String> list = new LinkedHashMap<>();
        for (ExitCode code : values()) {
            list.put(Integer.toString(code.number), code.meaning);
        }
        return list;
    }
}
