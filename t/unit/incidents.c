/* SPDX-License-Identifier: PostgreSQL */
/*
 * incidents.c
 *		Runs the rules and the storage of incidents without a server.
 *
 * These cases would take minutes, or more sessions than a test can open. Prints a line for each
 * case. t/053_incidents.pl checks the output.
 */
#include "postgres.h"

#include <signal.h>

#include "rules/incidents.h"
#include "samples/incidents.h"

/* this program does not link the server's functions */
#undef printf
#include <stdio.h>
#include <stdlib.h>

volatile sig_atomic_t InterruptPending;

void
ProcessInterrupts(void)
{
}

void
pg_usleep(long microseconds)
{
	(void) microseconds;
}

void *
palloc(Size size)
{
	return malloc(size);
}

void
pfree(void *pointer)
{
	free(pointer);
}

void
cpm_put(CpmSink *sink, const void *record)
{
	(void) sink, (void) record;
}

/*
 * Run steps such as "5a 10o 70r": at second 5 an alert is not OK (a), at second 10 all alerts are
 * OK (o), and at second 70 the server has refused a connection (r). For each step, prints the
 * first letter of begins, resumes, continues or ends, or "." for none.
 */
static void
run_steps(const char *steps)
{
	static const char letters[] = ".brce";
	CpmIncidentState state;
	char	   *end;

	cpm_incident_state_init(&state);
	for (const char *step = steps; *step != '\0'; step = end + strcspn(end, " "))
	{
		double		seconds = strtod(step, &end);

		putchar(letters[cpm_incident_step(&state, *end == 'a', *end == 'r',
										  1000 + (int64) (seconds * USECS_PER_SEC))]);
	}
	putchar('\n');
}

/*
 * For each sample {second, blocked, busy}, print "w" if the rules take a snapshot because the
 * sample is clearly worse than earlier ones, otherwise ".". A snapshot takes cost_us.
 */
static void
run_samples(const uint32 samples[][3], int count, int64 cost_us)
{
	CpmIncidentState state;

	cpm_incident_state_init(&state);
	for (int i = 0; i < count; i++)
	{
		int64		now_us = samples[i][0] * USECS_PER_SEC;
		bool		is_worse = cpm_incident_is_worse(&state, samples[i][1], samples[i][2], now_us);

		if (is_worse)
			cpm_incident_record_snapshot(&state, CPM_AT_WORST, samples[i][1], samples[i][2],
										 now_us, cost_us);
		putchar(is_worse ? 'w' : '.');
	}
	putchar('\n');
}

/*
 * An alert rises to CRITICAL every second. Print "c" if the rules let a snapshot that takes a
 * microsecond replace the previous one, otherwise ".".
 */
static void
run_rises(int count)
{
	CpmIncidentState state;

	cpm_incident_state_init(&state);
	for (int i = 0; i < count; i++)
	{
		int64		now_us = i * USECS_PER_SEC;
		bool		may_replace = cpm_incident_may_replace_critical(&state, now_us);

		if (may_replace)
			cpm_incident_record_snapshot(&state, CPM_AT_CRITICAL, 0, 0, now_us, 1);
		putchar(may_replace ? 'c' : '.');
	}
	putchar('\n');
}

/*
 * Print the number of incidents and the first id, the number of rows, the first incident that has
 * snapshots, and the number of snapshots of the last incident. Checks all rows.
 */
static void
print_storage(void)
{
	const CpmIncidents *all = cpm_incidents_read(true);
	int			rows = 0;

	for (int i = 0; i < all->snapshots; i++)
	{
		const CpmSnapshot *snapshot = &all->snapshot[i];

		if (snapshot->first_row != rows)
			printf("gap ");
		rows += snapshot->rows;
		for (int j = 0; j < snapshot->rows; j++)
			if (all->row[snapshot->first_row + j].pid != (int) snapshot->at)
			{
				printf("mixed ");
				break;
			}
	}
	if (rows != all->rows)
		printf("lost ");
	if (all->incidents == 0)
	{
		printf("0 incidents\n");
		return;
	}
	printf("%d from %d, %d rows, from %d, %d of the last\n", all->incidents,
		   (int) all->incident[0].id, all->rows, (int) all->snapshot[0].incident,
		   all->incident[all->incidents - 1].snapshots);
}

/*
 * Add a snapshot if there is room for it, or if it is that of a rise to CRITICAL. Its time and the
 * pids of its rows are the number of this call.
 */
static void
add_snapshot(int rows, CpmSnapshotReason reason)
{
	static CpmSnapshotRow row[CPM_SNAPSHOT_ROWS];
	static int	number = 0;

	number++;
	for (int i = 0; i < rows; i++)
		row[i].pid = number;
	if (reason == CPM_AT_CRITICAL || cpm_incident_has_room_for(reason))
		cpm_incidents_add_snapshot(number, reason, row, rows);
}

/*
 * Print the reasons of the snapshots of the newest incident: w(arning), c(ritical), W(orst). Then
 * print those for which there is room.
 */
static void
print_reasons(void)
{
	const CpmIncidents *all = cpm_incidents_read(true);

	for (int i = 0; i < all->snapshots; i++)
		if (all->snapshot[i].incident == all->incident[all->incidents - 1].id)
			putchar("wcW"[all->snapshot[i].reason]);
	putchar(' ');
	for (int reason = 0; reason < CPM_SNAPSHOT_REASONS; reason++)
		if (cpm_incident_has_room_for(reason))
			putchar("wcW"[reason]);
	putchar('\n');
}

static void
begin_incident(void)
{
	CpmIncident incident = {.started_at = 1};

	cpm_incidents_begin(&incident);
}

static void
run_storage(void)
{
	cpm_incidents_attach(malloc(cpm_incidents_size()), true);
	print_storage();
	for (int i = 0; i < 45; i++)
	{
		begin_incident();
		add_snapshot(100 + i, CPM_AT_WARNING);
		add_snapshot(50, CPM_AT_WORST);
	}
	print_storage();
	/* the eighth snapshot is that of the worst moment, and a worse moment replaces it */
	begin_incident();
	for (int i = 0; i < 12; i++)
		add_snapshot(300, CPM_AT_WARNING);
	print_storage();
	for (int i = 0; i < 5; i++)
		add_snapshot(700 + i, CPM_AT_WORST);
	print_storage();

	/*
	 * The snapshot of a rise to CRITICAL replaces that of the last rise to WARNING. If there is
	 * none, it replaces that of the last rise to CRITICAL, but never the first snapshot.
	 */
	print_reasons();
	add_snapshot(1, CPM_AT_CRITICAL);
	print_reasons();
	for (int i = 0; i < 9; i++)
		add_snapshot(2 + i, CPM_AT_CRITICAL);
	print_reasons();
	print_storage();
	/* eight snapshots of the maximum size leave no room for others */
	begin_incident();
	add_snapshot(CPM_SNAPSHOT_ROWS, CPM_AT_WORST);
	for (int i = 0; i < 12; i++)
		add_snapshot(CPM_SNAPSHOT_ROWS, CPM_AT_WARNING);
	add_snapshot(CPM_SNAPSHOT_ROWS, CPM_AT_WORST);
	print_storage();
	for (int i = 0; i < 20; i++)
		begin_incident();
	print_storage();
	cpm_incidents_reset();
	print_storage();
	begin_incident();
	add_snapshot(1, CPM_AT_WARNING);
	print_storage();
	printf("%d", cpm_incidents_remove_reset());
	printf("%d ", cpm_incidents_remove_reset());
	print_storage();
	printf("%d begun\n", (int) cpm_incidents_begun());
}

int
main(void)
{
	static const uint32 samples[][3] = {
		{0, 0, 10}, {1, 0, 11}, {2, 0, 19}, {3, 0, 20}, {4, 1, 5}, {5, 1, 6}, {6, 2, 6}, {7, 3, 6},
		{16, 3, 6}, {20, 3, 6}, {27, 3, 6}, {28, 2, 99}, {60, 3, 7}, {61, 8, 1}, {70, 8, 1}
	};

	run_steps("0a 1a 2o 61.9a 70o 129.9a 130o 190a 191o 192o 300o");
	run_steps("0r 1o 59.9o 60o 119.9r 130r 189.9o 190o 250r");
	run_steps("0a 5r 10o 64.9o 65o 66a");
	run_samples(samples, lengthof(samples), USECS_PER_SEC);
	run_samples(samples, lengthof(samples), 10 * 1000);
	run_rises(25);
	run_storage();
	return 0;
}
