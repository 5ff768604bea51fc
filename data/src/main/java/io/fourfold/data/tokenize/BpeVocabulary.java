package io.fourfold.data.tokenize;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;

/**
 * A trained byte-level BPE vocabulary.
 *
 * @param tokens by id, in the byte-level alphabet
 * @param merges pairs of tokens in the order they are merged
 */
public record BpeVocabulary(List<String> tokens, List<Merge> merges) {
    /** Two neighbours that become one token. */
    public record Merge(String left, String right) {}

    public BpeVocabulary {
        tokens = List.copyOf(tokens);
        merges = List.copyOf(merges);
    }

    /**
     * The vocabulary as a Hugging Face {@code tokenizer.json}.
     *
     * @param endOfDocument text of a special token, which gets the id after the last
     */
    public String toTokenizerJson(String endOfDocument) {
        ObjectMapper mapper = new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
        ObjectNode root = mapper.createObjectNode();
        root.put("version", "1.0").putNull("truncation").putNull("padding");
        ObjectNode special = root.putArray("added_tokens").addObject();
        special.put("id", tokens.size()).put("content", endOfDocument);
        special.put("single_word", false).put("lstrip", false).put("rstrip", false);
        special.put("normalized", false).put("special", true);
        root.putNull("normalizer");
        putByteLevel(root.putObject("pre_tokenizer"));
        root.putNull("post_processor");
        putByteLevel(root.putObject("decoder"));
        ObjectNode model = root.putObject("model");
        model.put("type", "BPE").putNull("dropout").putNull("unk_token");
        model.putNull("continuing_subword_prefix").putNull("end_of_word_suffix");
        model.put("fuse_unk", false).put("byte_fallback", false);
        ObjectNode vocab = model.putObject("vocab");
        for (int id = 0; id < tokens.size(); id++) {
            vocab.put(tokens.get(id), id);
        }
        vocab.put(endOfDocument, tokens.size());
        ArrayNode rules = model.putArray("merges");
        merges.forEach(merge -> rules.add(merge.left() + " " + merge.right()));
        try {
            return mapper.writeValueAsString(root) + "\n";
        } catch (JsonProcessingException e) {
            throw new IllegalStateException("A vocabulary is always representable as JSON", e);
        }
    }

    private static void putByteLevel(ObjectNode node) {
        node.put("type", "ByteLevel").put("add_prefix_space", false);
        node.put("trim_offsets", true).put("use_regex", true);
    }
}
