package io.fourfold.data.tokenize;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fourfold.data.DataException;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.TreeMap;

/** What {@code tokenizer.json} says about its tokens: a map of text to id, or (unigram) a list of [text, score]. */
final class HfVocabulary {
    private HfVocabulary() {}

    /** Ids by token text, added tokens included. */
    static Map<String, Integer> read(String file, ObjectNode root) {
        Map<String, Integer> ids = new HashMap<>();
        JsonNode vocab = root.path("model").path("vocab");
        if (vocab.isObject()) {
            vocab.properties()
                    .forEach(entry -> ids.put(entry.getKey(), entry.getValue().asInt()));
        } else if (vocab.isArray()) {
            for (int id = 0; id < vocab.size(); id++) {
                ids.put(vocab.get(id).path(0).asText(), id);
            }
        } else {
            throw new DataException("Tokenizer file " + file + " has no model.vocab; it is not a tokenizer.json");
        }
        for (JsonNode token : root.path("added_tokens")) {
            ids.put(token.path("content").asText(), token.path("id").asInt());
        }
        return ids;
    }

    /**
     * Hides the added tokens marked special from the encoder and returns their texts by id. Those in the model's own
     * vocabulary are dropped; the others keep their place under a text that does not occur, because the library numbers
     * added tokens by position.
     */
    static TreeMap<Integer, String> hideSpecialTokens(ObjectNode root) {
        TreeMap<Integer, String> specials = new TreeMap<>();
        JsonNode vocab = root.path("model").path("vocab");
        if (root.get("added_tokens") instanceof ArrayNode added) {
            for (Iterator<JsonNode> tokens = added.iterator(); tokens.hasNext(); ) {
                JsonNode token = tokens.next();
                if (!token.path("special").asBoolean()) {
                    continue;
                }
                int id = token.path("id").asInt();
                String content = token.path("content").asText();
                specials.put(id, content);
                if (vocab.has(content) || (vocab.isArray() && id < vocab.size())) {
                    tokens.remove();
                } else {
                    ((ObjectNode) token).put("content", "\uE000\uF8FFhidden-special-" + id + "\uF8FF\uE000");
                }
            }
        }
        return specials;
    }

    /** Largest id plus one. */
    static int size(Map<String, Integer> vocabulary, TreeMap<Integer, String> specials) {
        int largest = specials.isEmpty() ? -1 : specials.lastKey();
        for (int id : vocabulary.values()) {
            largest = Math.max(largest, id);
        }
        return largest + 1;
    }
}
