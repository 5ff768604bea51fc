package io.fourfold.data.tokenize;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * Where a long text can be cut without changing its ids, so that one huge document needs no huge memory (the native
 * library keeps about 600 bytes a token) and is encoded by several threads.
 *
 * <p>That is between a letter and a line end behind it, for tokenizers that first split text by one of the patterns known
 * here: in each of them no match has a line end right after a letter, and no match looks back. Other tokenizers get their
 * texts whole.
 */
final class SafeCuts {
    private static final String TAIL = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    private static final String HEAD = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}";

    /** The patterns of Qwen, and of GPT-4 and Llama 3. GPT-2's is built into ByteLevel. */
    private static final Set<String> KNOWN = Set.of(HEAD + TAIL, HEAD + "{1,3}" + TAIL);

    private SafeCuts() {}

    /** Whether texts of this {@code tokenizer.json} may be cut. */
    static boolean areKnown(JsonNode root) {
        JsonNode normalizer = root.path("normalizer");
        boolean keepsPlaces = normalizer.isNull()
                || normalizer.isMissingNode()
                || normalizer.path("type").asText().equals("NFC");
        for (JsonNode token : root.path("added_tokens")) {
            keepsPlaces &= !token.path("lstrip").asBoolean()
                    && !token.path("rstrip").asBoolean()
                    && token.path("content").asText().indexOf('\n') < 0;
        }
        return keepsPlaces && splitsAtLineEnds(root.path("pre_tokenizer"));
    }

    private static boolean splitsAtLineEnds(JsonNode preTokenizer) {
        if (isByteLevel(preTokenizer, true)) {
            return true;
        }
        JsonNode steps = preTokenizer.path("pretokenizers");
        JsonNode split = steps.path(0);
        return preTokenizer.path("type").asText().equals("Sequence")
                && steps.size() == 2
                && split.path("type").asText().equals("Split")
                && split.path("behavior").asText().equals("Isolated")
                && !split.path("invert").asBoolean()
                && KNOWN.contains(split.path("pattern").path("Regex").asText())
                && isByteLevel(steps.path(1), false);
    }

    private static boolean isByteLevel(JsonNode step, boolean splits) {
        return step.path("type").asText().equals("ByteLevel")
                && !step.path("add_prefix_space").asBoolean(true)
                && step.path("use_regex").asBoolean(true) == splits;
    }

    /** Cuts {@code text} into pieces of at least {@code characters}, the last one excepted. */
    static List<String> cut(String text, int characters) {
        List<String> pieces = new ArrayList<>();
        int start = 0;
        for (int at = text.indexOf('\n', characters); at >= 0; at = text.indexOf('\n', at + 1)) {
            if (at - start >= characters && Character.isLetter(text.charAt(at - 1))) {
                pieces.add(text.substring(start, at));
                start = at;
            }
        }
        pieces.add(text.substring(start));
        return pieces;
    }
}
