package io.fourfold.spark;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.train.TrainingException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

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
     * @param device index of its GPU on the host, -1 without one
     * @param gpu unique name of that GPU, empty without one
     * @param executor Spark's executor id
     * @param jvm identity of its process
     * @param partition its partition
     * @param address name or address at which other executors reach it
     * @param port where it listens for other ranks
     * @param secret random; all tasks' together make the secret of the gang's connections
     * @param facts what must be the same on all ranks, by name: configuration, program and library versions
     * @param problem why this task cannot train; empty when it can
     */
    record Member(
            String host,
            int device,
            String gpu,
            String executor,
            String jvm,
            int partition,
            String address,
            int port,
            String secret,
            Map<String, String> facts,
            String problem) {
        Member {
            facts = Map.copyOf(facts);
        }

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
     */
    static Gang of(String[] messages) {
        return of(messages, List.of(), messages.length);
    }

    /**
     * The first ranks of the tasks that are not on a host left out; the others have none.
     *
     * @param messages every task's {@link Member#toJson}
     * @param leftOutHosts hosts by the address that Spark knows
     * @param ranks how many there are
     * @throws HostsNotLeftOut when there are fewer such tasks than ranks
     * @throws TrainingException when the tasks do not belong together
     */
    static Gang of(String[] messages, Collection<String> leftOutHosts, int ranks) {
        List<Member> members = Arrays.stream(messages)
                .map(Gang::parse)
                .filter(member -> !leftOutHosts.contains(member.address()))
                .sorted(Comparator.comparing(Member::host)
                        .thenComparingInt(Member::device)
                        .thenComparing(Member::executor)
                        .thenComparingInt(Member::partition))
                .limit(ranks)
                .toList();
        if (members.size() < ranks) {
            throw new HostsNotLeftOut("only " + members.size() + " of " + ranks
                    + " ranks are on hosts that are not left out (" + String.join(", ", leftOutHosts) + ")");
        }
        refuseProblems(members);
        refuseSharedGpus(members);
        List<String> differences = differences(members);
        if (!differences.isEmpty()) {
            throw launch("the ranks do not fit together: " + String.join("; ", differences)
                    + ". Submit one job jar, and install one version of Spark, Java, the NVIDIA driver and CUDA on all"
                    + " machines");
        }
        return new Gang(members);
    }

    private static void refuseProblems(List<Member> members) {
        String problems = IntStream.range(0, members.size())
                .filter(rank -> !members.get(rank).problem().isEmpty())
                .mapToObj(rank -> name(members, rank) + ": " + members.get(rank).problem())
                .collect(Collectors.joining("; "));
        if (!problems.isEmpty()) {
            throw launch("not every rank can train. " + problems);
        }
    }

    /** Two ranks on one GPU would make NCCL hang or fail with a message that nobody understands. */
    private static void refuseSharedGpus(List<Member> members) {
        Map<String, Integer> first = new TreeMap<>();
        for (int rank = 0; rank < members.size(); rank++) {
            String gpu = members.get(rank).gpu();
            Integer other = gpu.isEmpty() ? null : first.putIfAbsent(gpu, rank);
            if (other != null) {
                throw launch("two ranks have the same GPU " + gpu + ": " + name(members, other) + ", device "
                        + members.get(other).device() + ", and " + name(members, rank) + ", device "
                        + members.get(rank).device()
                        + ". On YARN without GPU isolation every executor finds the same GPUs: turn isolation on"
                        + " (yarn.nodemanager.resource-plugins=yarn.io/gpu), or run one executor a host. Elsewhere see"
                        + " that the discovery script prints each GPU to one worker only");
            }
        }
    }

    private static String name(List<Member> members, int rank) {
        return "rank " + rank + " on " + members.get(rank).host() + " (executor "
                + members.get(rank).executor() + ")";
    }

    /** For each fact that is not the same everywhere: what most ranks have and which ranks have something else. */
    private static List<String> differences(List<Member> members) {
        TreeSet<String> names = new TreeSet<>();
        members.forEach(member -> names.addAll(member.facts().keySet()));
        List<String> differences = new ArrayList<>();
        for (String name : names) {
            Map<String, List<Integer>> ranks = new TreeMap<>();
            for (int rank = 0; rank < members.size(); rank++) {
                String value = members.get(rank).facts().getOrDefault(name, "none");
                ranks.computeIfAbsent(value, key -> new ArrayList<>()).add(rank);
            }
            if (ranks.size() > 1) {
                differences.add(difference(name, ranks, members));
            }
        }
        return differences;
    }

    private static String difference(String name, Map<String, List<Integer>> ranks, List<Member> members) {
        String usual = ranks.entrySet().stream()
                .max(Comparator.comparingInt(entry -> entry.getValue().size()))
                .orElseThrow()
                .getKey();
        String odd = ranks.entrySet().stream()
                .filter(entry -> !entry.getKey().equals(usual))
                .flatMap(entry -> entry.getValue().stream().map(rank -> name(members, rank) + " has " + entry.getKey()))
                .collect(Collectors.joining(", "));
        return name + " is " + usual + " on "
                + ranks.getOrDefault(usual, List.of()).size() + " of " + members.size() + " ranks, but " + odd;
    }

    /** Rank of the task of a partition; -1 when it has none. */
    int rank(int partition) {
        for (int rank = 0; rank < members.size(); rank++) {
            if (members.get(rank).partition() == partition) {
                return rank;
            }
        }
        return -1;
    }

    /** True when all ranks are threads of one process. */
    boolean isOneJvm() {
        return members.stream().map(Member::jvm).distinct().count() == 1;
    }

    /** Where the ranks listen, by rank. */
    List<InetSocketAddress> addresses() {
        return members.stream()
                .map(member -> InetSocketAddress.createUnresolved(member.address(), member.port()))
                .toList();
    }

    /** What the ranks know and nobody else: it went through Spark's own channel and depends on every task's share. */
    byte[] secret() {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            members.forEach(member -> digest.update(member.secret().getBytes(StandardCharsets.UTF_8)));
            return digest.digest();
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }

    private static Member parse(String json) {
        try {
            return MAPPER.readValue(json, Member.class);
        } catch (JsonProcessingException e) {
            // Not the text itself: it may hold the task's share of the connections' secret.
            throw launch("a task sent " + json.length() + " characters that are not its description: it runs another"
                    + " program version (" + e.getOriginalMessage() + ")");
        }
    }

    private static TrainingException launch(String message) {
        return new TrainingException(TrainingException.Code.TRAIN_LAUNCH, message + (message.endsWith(".") ? "" : "."));
    }
}
