package io.fourfold.spark;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerTaskStart;
import org.apache.spark.scheduler.TaskInfo;
import org.jspecify.annotations.Nullable;

/** Remembers where Spark started each task of a gang, for a lost executor cannot say so any more. */
final class GangTasks extends SparkListener {
    /** Where a task runs. */
    record Place(String host, String executor) {
        @Override
        public String toString() {
            return "executor " + executor + " on " + host;
        }
    }

    private final Map<Integer, Place> places = new ConcurrentHashMap<>();

    @Override
    public void onTaskStart(SparkListenerTaskStart start) {
        TaskInfo task = start.taskInfo();
        places.put(task.index(), new Place(task.host(), task.executorId()));
    }

    /** Null when Spark has not told of this task yet. */
    @Nullable
    Place of(int partition) {
        return places.get(partition);
    }
}
