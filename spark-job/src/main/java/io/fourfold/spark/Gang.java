package io.fourfold.spark;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.train.TrainingException;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * Who is in a barrier stage and which rank each task has. Ranks follow from the sorted (host, device, executor, partition)
 * that all tasks exchange in one message, never from the partition id: Spark places partitions on devices in any order.
 *
 * @param members by rank
 */
record Gang(List<Member> members) {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    /**
     * What a task says of itself.
     *
     * @param host its machine
     * @param device index of its accelerator on the host, -1 without one
     * @param executor Spark's executor id
     * @param jvm identity of its process
     * @param partition its partition
     * @param configHash SHA-256 of the configuration it was given
     * @param codeVersion version of the program it runs
     */
    record Member(
            String host,
            int device,
            String executor,
            String jvm,
            int partition,
            String configHash,
            String codeVersion) {
        String toJson() {
            try {
                return MAPPER.writeValueAsString(this);
            } catch (JsonProcessingException e) {
                throw new IllegalStateException("a record of texts and numbers is always JSON", e);
            }
        }
    }

    Gang {
        members = List.copyOf(members);
    }

    /**
     * Ranks of all tasks.
     *
     * @param messages every task's {@link Member#toJson}
     * @throws TrainingException when the tasks do not belong together
     */
    static Gang of(String[] messages) {
        List<Member> members = Arrays.stream(messages)
                .map(Gang::parse)
                .sorted(Comparator.comparing(Member::host)
                        .thenComparingInt(Member::device)
                        .thenComparing(Member::executor)
                        .thenComparingInt(Member::partition))
                .toList();
        Member first = members.get(0);
        for (Member member : members) {
            if (!member.configHash().equals(first.configHash())
                    || !member.codeVersion().equals(first.codeVersion())) {
                throw launch("tasks on " + first.host() + " and " + member.host()
                        + " have another configuration or program version (" + first.configHash() + ", "
                        + first.codeVersion() + " and " + member.configHash() + ", " + member.codeVersion()
                        + "). Submit one jar to all executors");
            }
        }
        return new Gang(members);
    }

    /** Rank of the task of a partition. */
    int rank(int partition) {
        for (int rank = 0; rank < members.size(); rank++) {
            if (members.get(rank).partition() == partition) {
                return rank;
            }
        }
        throw new IllegalStateException("partition " + partition + " is not in the gang");
    }

    /** Fails when the ranks are in several processes: collectives between them are not there yet. */
    void requireOneJvm() {
        Set<String> processes = members.stream().map(Member::jvm).collect(Collectors.toSet());
        if (processes.size() > 1) {
            throw launch("the ranks are in " + processes.size() + " executor JVMs on hosts "
                    + members.stream().map(Member::host).distinct().collect(Collectors.joining(", "))
                    + "; several executor JVMs come in a later version. Use one executor with at least "
                    + members.size() + " cores, or --master local[" + members.size() + "]");
        }
    }

    private static Member parse(String json) {
        try {
            return MAPPER.readValue(json, Member.class);
        } catch (JsonProcessingException e) {
            throw launch("a task sent '" + json + "' instead of its description: it runs another program version ("
                    + e.getOriginalMessage() + ")");
        }
    }

    private static TrainingException launch(String message) {
        return new TrainingException(TrainingException.Code.TRAIN_LAUNCH, message + ".");
    }
}
