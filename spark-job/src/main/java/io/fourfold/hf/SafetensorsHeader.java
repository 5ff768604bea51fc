package io.fourfold.hf;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The header of a safetensors file: eight bytes with its length N (little endian), N bytes of JSON, then the data. The
 * rules checked here are those of the format's description: at most 100 MB, unique names, and offsets that cover the data
 * without overlap or hole.
 *
 * @param tensors in order of their data
 * @param metadata the {@code __metadata__} entry
 * @param dataStart first byte of the data in the file
 */
record SafetensorsHeader(Map<String, Entry> tensors, Map<String, String> metadata, long dataStart) {
    static final int MAX_HEADER_BYTES = 100_000_000;

    /** Bytes per element of the types that a file may hold beside weights. */
    private static final Map<String, Integer> OTHER_TYPES = Map.ofEntries(
            Map.entry("BOOL", 1),
            Map.entry("U8", 1),
            Map.entry("I8", 1),
            Map.entry("F8_E4M3", 1),
            Map.entry("F8_E5M2", 1),
            Map.entry("F8_E8M0", 1),
            Map.entry("U16", 2),
            Map.entry("I16", 2),
            Map.entry("U32", 4),
            Map.entry("I32", 4),
            Map.entry("F64", 8),
            Map.entry("U64", 8),
            Map.entry("I64", 8),
            Map.entry("C64", 8));

    private static final ObjectMapper JSON = new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);

    /**
     * One tensor of the file.
     *
     * @param dtype as written, for example {@code BF16}
     * @param begin first byte within the data
     * @param end byte after the last
     */
    record Entry(String name, String dtype, long[] shape, long begin, long end) {}

    /**
     * Checks the length field.
     *
     * @param length the first eight bytes
     */
    static int checkedLength(String file, long length, long fileSize) {
        if (length < 2 || length > MAX_HEADER_BYTES) {
            throw new HfException(file + ": the header claims " + Long.toUnsignedString(length)
                    + " bytes, allowed are 2.." + MAX_HEADER_BYTES
                    + ". This is no safetensors file, or its start is damaged: download it again");
        }
        if (length > fileSize - Long.BYTES) {
            throw new HfException(file + ": the header has " + length + " bytes but the file only " + fileSize
                    + ": it is truncated, download or export it again");
        }
        return (int) length;
    }

    /** Parses and checks the JSON bytes. */
    static SafetensorsHeader parse(String file, byte[] json, long fileSize) {
        List<String> problems = new ArrayList<>();
        List<Entry> entries = new ArrayList<>();
        Map<String, String> metadata = new LinkedHashMap<>();
        readTree(file, json).fields().forEachRemaining(field -> {
            if (field.getKey().equals("__metadata__")) {
                field.getValue()
                        .fields()
                        .forEachRemaining(
                                m -> metadata.put(m.getKey(), m.getValue().asText()));
            } else {
                try {
                    entries.add(entry(field.getKey(), field.getValue()));
                } catch (IllegalArgumentException | ArithmeticException e) {
                    problems.add("tensor " + field.getKey() + ": " + e.getMessage());
                }
            }
        });
        long dataStart = Long.BYTES + (long) json.length;
        entries.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));
        if (problems.isEmpty()) {
            checkLayout(entries, fileSize - dataStart, problems);
        }
        if (!problems.isEmpty()) {
            throw HfException.of(
                    file + ": bad safetensors header",
                    problems,
                    "The file is damaged or was written by a faulty tool: download or export it again.");
        }
        Map<String, Entry> tensors = new LinkedHashMap<>();
        entries.forEach(e -> tensors.put(e.name(), e));
        return new SafetensorsHeader(tensors, metadata, dataStart);
    }

    private static JsonNode readTree(String file, byte[] json) {
        try {
            String text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(java.nio.ByteBuffer.wrap(json))
                    .toString();
            JsonNode root = JSON.readTree(text);
            if (root == null || !root.isObject()) {
                throw new HfException(file + ": the safetensors header is not a JSON object; the file is damaged");
            }
            return root;
        } catch (CharacterCodingException e) {
            throw new HfException(file + ": the safetensors header is not UTF-8; the file is damaged", e);
        } catch (JsonProcessingException e) {
            throw new HfException(
                    file + ": the safetensors header is not valid JSON (" + e.getOriginalMessage()
                            + "); the file is damaged",
                    e);
        }
    }

    private static Entry entry(String name, JsonNode node) {
        JsonNode dtype = node.path("dtype");
        JsonNode shape = node.path("shape");
        JsonNode offsets = node.path("data_offsets");
        require(
                dtype.isTextual() && shape.isArray() && offsets.isArray() && offsets.size() == 2,
                "needs dtype, shape and two data_offsets");
        long[] dims = longs(shape);
        long[] range = longs(offsets);
        require(Arrays.stream(dims).allMatch(d -> d >= 0), "negative size in shape " + Arrays.toString(dims));
        require(range[0] >= 0 && range[1] >= range[0], "data_offsets " + Arrays.toString(range) + " are no range");
        long bytes = Math.multiplyExact(elements(dims), elementBytes(dtype.asText()));
        require(
                bytes == range[1] - range[0],
                dtype.asText() + Arrays.toString(dims) + " takes " + bytes + " bytes but data_offsets "
                        + Arrays.toString(range) + " span " + (range[1] - range[0]));
        return new Entry(name, dtype.asText(), dims, range[0], range[1]);
    }

    private static long[] longs(JsonNode array) {
        long[] values = new long[array.size()];
        for (int i = 0; i < values.length; i++) {
            require(array.get(i).isIntegralNumber() && array.get(i).canConvertToLong(), "no integer: " + array.get(i));
            values[i] = array.get(i).asLong();
        }
        return values;
    }

    static long elements(long[] shape) {
        long n = 1;
        for (long d : shape) {
            n = Math.multiplyExact(n, d);
        }
        return n;
    }

    private static long elementBytes(String dtype) {
        SafetensorsType type = SafetensorsType.parse(dtype);
        if (type != null) {
            return type.bytes();
        }
        Integer bytes = OTHER_TYPES.get(dtype);
        require(bytes != null, "unknown dtype " + dtype);
        return bytes == null ? 0 : bytes;
    }

    private static void checkLayout(List<Entry> entries, long dataBytes, List<String> problems) {
        long position = 0;
        for (Entry e : entries) {
            if (e.begin() < position) {
                problems.add("tensor " + e.name() + " starts at byte " + e.begin() + " and overlaps the one before it,"
                        + " which ends at " + position);
            } else if (e.begin() > position) {
                problems.add(
                        "bytes " + position + ".." + e.begin() + " before tensor " + e.name() + " belong to no tensor");
            }
            position = Math.max(position, e.end());
        }
        if (position > dataBytes) {
            problems.add(
                    "the tensors need " + position + " bytes of data, the file has " + dataBytes + ": it is truncated");
        } else if (position < dataBytes) {
            problems.add("the tensors end at byte " + position + " but the file has " + dataBytes + " bytes of data");
        }
    }

    private static void require(boolean condition, String message) {
        if (!condition) {
            throw new IllegalArgumentException(message);
        }
    }
}
