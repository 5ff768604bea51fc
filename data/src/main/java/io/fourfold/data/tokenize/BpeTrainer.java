package io.fourfold.data.tokenize;

import io.fourfold.data.DataException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import org.jspecify.annotations.Nullable;

/**
 * Trains a byte-level BPE vocabulary (Sennrich et al., arXiv:1508.07909): again and again the most frequent pair of
 * neighbours within words becomes a token. Of equally frequent pairs the one with the smaller ids goes first, so the same
 * texts in any order give the same vocabulary.
 */
public final class BpeTrainer {
    private static final int BYTES = 256;

    private final Map<String, Long> words = new TreeMap<>();

    /** Counts the words of a text. */
    public void add(String text) {
        Matcher matcher = ByteLevel.WORDS.matcher(text);
        while (matcher.find()) {
            words.merge(matcher.group(), 1L, Long::sum);
        }
    }

    /**
     * Learns merges until there are {@code tokens} tokens.
     *
     * @param tokens the 256 bytes included, special tokens not
     * @throws DataException if the text has too few repeated pairs
     */
    public BpeVocabulary train(int tokens) {
        if (tokens < BYTES) {
            throw new DataException("A byte-level vocabulary has at least 256 tokens, not " + tokens);
        }
        return new Training(words, tokens).run();
    }

    /** A pair and how often it occurred when this was queued. */
    private record Candidate(long pair, long count) implements Comparable<Candidate> {
        @Override
        public int compareTo(Candidate other) {
            int byCount = Long.compare(other.count, count);
            return byCount != 0 ? byCount : Long.compareUnsigned(pair, other.pair);
        }
    }

    /** One run: words as shrinking lists of ids, and for each pair its count and the words that may have it. */
    private static final class Training {
        private final int target;
        private final List<int[]> wordIds = new ArrayList<>();
        private final List<Long> wordCounts = new ArrayList<>();
        private final Map<Long, Long> pairCounts = new HashMap<>();
        private final Map<Long, Set<Integer>> pairWords = new HashMap<>();
        private final PriorityQueue<Candidate> queue = new PriorityQueue<>();
        private final List<String> tokens = new ArrayList<>();
        private final Map<String, Integer> ids = new HashMap<>();
        private final List<BpeVocabulary.Merge> merges = new ArrayList<>();

        Training(Map<String, Long> words, int target) {
            this.target = target;
            for (int b = 0; b < BYTES; b++) {
                id(String.valueOf(ByteLevel.character(b)));
            }
            words.forEach((word, count) -> {
                wordIds.add(ByteLevel.bytes(word));
                wordCounts.add(count);
            });
            for (int word = 0; word < wordIds.size(); word++) {
                countPairs(word, 1);
            }
            pairCounts.forEach((pair, count) -> queue.add(new Candidate(pair, count)));
        }

        /** The token's id; a new one if two ways of merging did not meet in it before. */
        private int id(String token) {
            return ids.computeIfAbsent(token, text -> {
                tokens.add(text);
                return tokens.size() - 1;
            });
        }

        private static long pair(int left, int right) {
            return (long) left << 32 | right;
        }

        private void countPairs(int word, int sign) {
            int[] symbols = wordIds.get(word);
            long change = sign * wordCounts.get(word);
            for (int i = 0; i + 1 < symbols.length; i++) {
                long pair = pair(symbols[i], symbols[i + 1]);
                pairCounts.merge(pair, change, Long::sum);
                if (sign > 0) {
                    pairWords.computeIfAbsent(pair, key -> new HashSet<>()).add(word);
                }
            }
        }

        BpeVocabulary run() {
            while (tokens.size() < target) {
                Candidate best = mostFrequent();
                if (best == null) {
                    throw new DataException("The text has repeated pairs for " + tokens.size() + " tokens only, "
                            + target + " were asked for. Use more text or a smaller vocabulary.");
                }
                merge((int) (best.pair() >>> 32), (int) best.pair());
            }
            return new BpeVocabulary(tokens, merges);
        }

        /** Queued counts may be out of date: those are queued again with the present count. */
        private @Nullable Candidate mostFrequent() {
            for (Candidate top = queue.poll(); top != null; top = queue.poll()) {
                long count = pairCounts.getOrDefault(top.pair(), 0L);
                if (count == top.count() && count > 1) {
                    return top;
                }
                if (count > 1) {
                    queue.add(new Candidate(top.pair(), count));
                }
            }
            return null;
        }

        private void merge(int left, int right) {
            merges.add(new BpeVocabulary.Merge(tokens.get(left), tokens.get(right)));
            int merged = id(tokens.get(left) + tokens.get(right));
            Set<Integer> affected = pairWords.remove(pair(left, right));
            Set<Long> changed = new HashSet<>();
            for (int word : affected == null ? Set.<Integer>of() : affected) {
                countPairs(word, -1);
                wordIds.set(word, replace(wordIds.get(word), left, right, merged));
                countPairs(word, 1);
                collectPairsWith(wordIds.get(word), merged, changed);
            }
            pairCounts.remove(pair(left, right));
            for (long pair : changed) {
                queue.add(new Candidate(pair, pairCounts.getOrDefault(pair, 0L)));
            }
        }

        private static int[] replace(int[] symbols, int left, int right, int merged) {
            int[] result = new int[symbols.length];
            int length = 0;
            for (int i = 0; i < symbols.length; i++) {
                if (i + 1 < symbols.length && symbols[i] == left && symbols[i + 1] == right) {
                    result[length++] = merged;
                    i++;
                } else {
                    result[length++] = symbols[i];
                }
            }
            return java.util.Arrays.copyOf(result, length);
        }

        private static void collectPairsWith(int[] symbols, int token, Set<Long> pairs) {
            for (int i = 0; i + 1 < symbols.length; i++) {
                if (symbols[i] == token || symbols[i + 1] == token) {
                    pairs.add(pair(symbols[i], symbols[i + 1]));
                }
            }
        }
    }
}
