package io.fourfold.train;

import io.fourfold.checkpoint.CheckpointManifest;
import io.fourfold.checkpoint.CheckpointSave;
import io.fourfold.checkpoint.CheckpointStore;
import io.fourfold.checkpoint.HostSnapshot;
import io.fourfold.checkpoint.Retention;
import io.fourfold.checkpoint.SaveName;
import io.fourfold.checkpoint.SaveOutcome;
import io.fourfold.checkpoint.SectionReader;
import io.fourfold.checkpoint.TensorSection;
import io.fourfold.config.FailureReason;
import io.fourfold.config.RunConfig.CheckpointConfig;
import io.fourfold.metrics.EventKind;
import io.fourfold.parallel.ParallelMapping;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import org.jspecify.annotations.Nullable;

/**
 * Saves the run's state and reports how it went. A save that fails is an event; training goes on.
 *
 * <p>Training waits while its state is copied to host memory; a thread of each rank then writes. How that stands travels
 * with every step's scalars ({@link #votes}, {@link #observe}), so the ranks learn in the same step that all have written,
 * and rank 0's thread commits. One save is in flight at most: the next one waits for it, because the copy's memory is used
 * again and a checkpoint that is due should exist. With {@code async: false} a save is over when {@link #save} returns.
 */
final class Saver implements AutoCloseable {
    private static final double NANOS = 1e-9;

    /** Shorter waits for the save before are not worth an event. */
    private static final double REPORTED_WAIT_SECONDS = 0.5;

    /** A save that ranks are writing. */
    private record Flight(
            CheckpointSave save,
            CheckpointManifest.Identity identity,
            FutureTask<Boolean> writing,
            long start,
            boolean behind,
            double copySeconds) {}

    /** What rank 0 does when all ranks have written. */
    private record Conclusion(Flight flight, FutureTask<SaveOutcome> task) {}

    private final TrainerInputs inputs;
    private final CheckpointStore store;
    private final WorldAgreement agreement;
    private final TrainingState state;
    private final CheckpointIdentity identity;
    private final Retention retention;
    private final boolean async;
    private final String attempt;
    private final SaveThread thread;
    private final HostSnapshot snapshot = new HostSnapshot();
    private int saves;
    private @Nullable Flight flight;
    private @Nullable Conclusion conclusion;
    private @Nullable String newest;
    private int newestStep = -1;

    /** Collective. */
    Saver(
            TrainerInputs inputs,
            CheckpointStore store,
            WorldAgreement agreement,
            TrainingState state,
            ParallelMapping mapping) {
        this.inputs = inputs;
        this.store = store;
        this.agreement = agreement;
        this.state = state;
        identity = new CheckpointIdentity(inputs.config(), inputs.identity(), mapping);
        CheckpointConfig config = inputs.config().run().checkpoint();
        retention = new Retention(config.keepLast(), Math.multiplyExact(config.every(), config.keepEvery()));
        async = config.async();
        attempt = agreement.fromFirstRank(SaveName.newAttempt());
        thread = new SaveThread(async, agreement.rank());
    }

    /** Rank 0 removes what earlier attempts have left half-written; call before the first step. */
    void removeUncommitted(List<Notice> notices) {
        if (agreement.rank() != 0) {
            return;
        }
        try {
            store.removeUncommitted();
        } catch (IOException e) {
            notices.add(new Notice(
                    0,
                    EventKind.WARNING,
                    "incomplete checkpoints could not be removed from " + store.location() + ": " + e));
        }
    }

    /** The run continues from this checkpoint. */
    void loaded(String location, int step) {
        newest = location;
        newestStep = step;
    }

    /** Folder of the newest checkpoint, or null; the same on every rank after {@link #settle}. */
    @Nullable
    String newest() {
        return newest;
    }

    /** Step of the newest checkpoint; -1 when there is none. */
    int newestStep() {
        return newestStep;
    }

    /** This rank's part of what {@link #observe} is given. */
    SaveVotes votes() {
        if (flight == null || !flight.writing().isDone()) {
            return SaveVotes.NONE;
        }
        return new SaveVotes(1, failure(flight) == null ? 0 : 1);
    }

    /** Takes the sum of all ranks' votes; collective when a rank has failed. */
    void observe(SaveVotes votes) {
        reportConclusion();
        if (flight != null && votes.ended() == agreement.size()) {
            conclude(votes.failed() > 0);
        }
    }

    /** Collective. Copies the state and has it written. */
    void save(Progress progress) {
        if (flight != null) {
            int before = flight.save().step();
            long start = System.nanoTime();
            awaitFlight();
            double waited = (System.nanoTime() - start) * NANOS;
            if (waited > REPORTED_WAIT_SECONDS) {
                event(
                        progress.step(),
                        EventKind.WARNING,
                        "training waited %.1f s for the checkpoint of step %d to be written. Raise run.checkpoint.every,"
                                        .formatted(waited, before)
                                + " or give the run folder faster storage.");
            }
        }
        start(progress, async);
        if (!async) {
            settle();
        }
    }

    /** Collective. Waits for the save in flight; then every rank knows the newest checkpoint. */
    void settle() {
        if (flight != null) {
            awaitFlight();
        }
        if (conclusion != null) {
            awaitEnd(conclusion.task());
            reportConclusion();
        }
        String agreed = agreement.fromFirstRank(newest == null ? "" : newestStep + " " + newest);
        if (!agreed.isEmpty()) {
            int space = agreed.indexOf(' ');
            newestStep = Integer.parseInt(agreed.substring(0, space));
            newest = agreed.substring(space + 1);
        }
    }

    /** Collective. Saves unless the newest checkpoint is of this step, and waits. */
    void finish(Progress progress) {
        settle();
        if (newest == null || newestStep != progress.step()) {
            start(progress, false);
            settle();
        }
    }

    private void start(Progress progress, boolean behind) {
        long start = System.nanoTime();
        inputs.sink().flush();
        List<TensorSection> sections = state.sections();
        CheckpointSave save = store.begin(SaveName.of(progress.step(), attempt, saves++));
        FutureTask<Boolean> writing;
        double stopped = 0;
        if (behind) {
            snapshot.capture(inputs.backend(), sections);
            stopped = (System.nanoTime() - start) * NANOS;
            writing = thread.run(() -> write(save, sections, snapshot));
        } else {
            // Training waits anyway, so no copy is needed; only this thread may use the backend.
            writing = SaveThread.here(() -> write(save, sections, SectionReader.of(inputs.backend())));
        }
        flight = new Flight(save, identity.at(progress), writing, start, behind, stopped);
    }

    private boolean write(CheckpointSave save, List<TensorSection> sections, SectionReader reader) throws IOException {
        save.writeRank(agreement.rank(), sections, reader);
        return true;
    }

    private void awaitFlight() {
        if (flight != null) {
            awaitEnd(flight.writing());
            conclude(true);
        }
    }

    /** All ranks have ended writing. Collective when {@code doubtful}: the ranks then ask each other how it went. */
    private void conclude(boolean doubtful) {
        Flight done = flight;
        flight = null;
        if (done == null) {
            return;
        }
        String problem = doubtful ? agreement.firstFailure(failure(done)) : null;
        if (agreement.rank() == 0) {
            if (conclusion != null) {
                // Its work came before this writing in the same thread.
                awaitEnd(conclusion.task());
                reportConclusion();
            }
            conclusion = new Conclusion(done, thread.run(() -> commit(done, problem)));
            if (!async) {
                reportConclusion();
            }
        }
    }

    /** Commits, or cleans up after {@code failure}. */
    private SaveOutcome commit(Flight done, @Nullable String failure) {
        String problem = failure;
        if (problem == null) {
            problem = attempt(done, () -> done.save().commit(done.identity(), agreement.size()));
        }
        boolean saved = problem == null;
        String cleanUp = attempt(done, saved ? () -> store.prune(done.save(), retention) : done.save()::discard);
        if (cleanUp != null) {
            problem = problem == null ? cleanUp : problem + "; then " + cleanUp;
        }
        return new SaveOutcome(saved ? done.save().location() : null, problem);
    }

    /** An action that may fail with the file system. */
    @FunctionalInterface
    private interface StorageAction {
        void run() throws IOException;
    }

    private @Nullable String attempt(Flight save, StorageAction action) {
        try {
            action.run();
            return null;
        } catch (IOException | RuntimeException e) {
            return "rank " + agreement.rank() + " in " + save.save().location() + ": " + FailureReason.of(e);
        }
    }

    private static void awaitEnd(FutureTask<?> task) {
        try {
            SaveThread.await(task);
        } catch (ExecutionException e) {
            // failure() reads it again where it is reported.
        }
    }

    /** Why this rank's writing failed; null when it did not. To be asked when it has ended. */
    private @Nullable String failure(Flight save) {
        try {
            boolean unused = SaveThread.await(save.writing());
            return null;
        } catch (ExecutionException e) {
            return "rank " + agreement.rank() + " in " + save.save().location() + ": " + e.getCause();
        }
    }

    private void reportConclusion() {
        if (conclusion == null || !conclusion.task().isDone()) {
            return;
        }
        Flight done = conclusion.flight();
        SaveOutcome outcome;
        try {
            outcome = SaveThread.await(conclusion.task());
        } catch (ExecutionException e) {
            outcome = new SaveOutcome(null, String.valueOf(e.getCause()));
        }
        conclusion = null;
        if (outcome.location() != null) {
            newest = outcome.location();
            newestStep = done.save().step();
        }
        report(done, outcome);
    }

    private void report(Flight done, SaveOutcome outcome) {
        int step = done.save().step();
        if (outcome.location() != null) {
            double seconds = (System.nanoTime() - done.start()) * NANOS;
            String copy = done.behind() ? ", training waited %.3f s".formatted(done.copySeconds()) : "";
            event(step, EventKind.CHECKPOINT, "saved " + outcome.location() + " in %.1f s".formatted(seconds) + copy);
            if (outcome.problem() != null) {
                event(step, EventKind.WARNING, "old checkpoints could not be removed: " + outcome.problem());
            }
            return;
        }
        event(
                step,
                EventKind.CHECKPOINT_FAILED,
                "not saved, training goes on: " + outcome.problem() + ". "
                        + (newest == null ? "There is no checkpoint yet." : "The last one is " + newest + ".")
                        + " Free space or fix permissions before the next save.");
    }

    private void event(int step, String kind, String message) {
        inputs.sink().event(step, kind, message);
    }

    @Override
    public void close() {
        thread.close(conclusion == null ? null : conclusion.task());
    }
}
