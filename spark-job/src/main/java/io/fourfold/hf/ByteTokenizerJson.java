package io.fourfold.hf;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;

/**
 * The byte tokenizer as a tokenizer.json: byte pair encoding without merges. That format writes bytes as printable
 * characters, in GPT-2's order: visible Latin-1 bytes stand for themselves, the others are U+0100, U+0101, ...
 */
final class ByteTokenizerJson {
    private static final int BYTES = 256;
    private static final String END_OF_DOCUMENT = "<|endoftext|>";
    private static final ObjectMapper JSON = new ObjectMapper();

    private ByteTokenizerJson() {}

    static String text() {
        ObjectNode root = JSON.createObjectNode();
        root.put("version", "1.0");
        root.putNull("truncation");
        root.putNull("padding");
        root.putArray("added_tokens")
                .addObject()
                .put("id", BYTES)
                .put("content", END_OF_DOCUMENT)
                .put("single_word", false)
                .put("lstrip", false)
                .put("rstrip", false)
                .put("normalized", false)
                .put("special", true);
        root.putNull("normalizer");
        byteLevel(root.putObject("pre_tokenizer"));
        root.putNull("post_processor");
        byteLevel(root.putObject("decoder"));
        ObjectNode model = root.putObject("model");
        model.put("type", "BPE");
        for (String field : new String[] {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
            model.putNull(field);
        }
        model.put("fuse_unk", false).put("byte_fallback", false).put("ignore_merges", false);
        ObjectNode vocab = model.putObject("vocab");
        int next = BYTES;
        for (int b = 0; b < BYTES; b++) {
            vocab.put(String.valueOf((char) (isVisible(b) ? b : next++)), b);
        }
        model.putArray("merges");
        return root.toPrettyString() + "\n";
    }

    private static boolean isVisible(int b) {
        return b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE;
    }

    private static void byteLevel(ObjectNode node) {
        node.put("type", "ByteLevel")
                .put("add_prefix_space", false)
                .put("trim_offsets", false)
                .put("use_regex", false);
    }
}
