package io.fourfold.spark.prep;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.fourfold.data.DataException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** The job's own small files as JSON with snake_case keys. */
final class PrepJson {
    private static final ObjectMapper JSON = JsonMapper.builder()
            .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
            .enable(SerializationFeature.INDENT_OUTPUT)
            .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
            .build();

    private PrepJson() {}

    static byte[] toBytes(Object value) {
        try {
            return (JSON.writeValueAsString(value) + "\n").getBytes(StandardCharsets.UTF_8);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException("Cannot write " + value.getClass() + " as JSON", e);
        }
    }

    static <T> T parse(byte[] content, Class<T> type) {
        try {
            return JSON.readValue(content, type);
        } catch (IOException e) {
            throw new IllegalStateException("Not the JSON of " + type, e);
        }
    }

    static <T> T read(Folder folder, String name, Class<T> type) throws IOException {
        byte[] content = folder.read(name);
        try {
            return JSON.readValue(content, type);
        } catch (JsonProcessingException e) {
            throw new DataException(
                    folder.path() + "/" + name + " is damaged: " + e.getOriginalMessage()
                            + ". Delete it and run 'fourfold prepare' again.",
                    e);
        }
    }
}
