/* SPDX-License-Identifier: PostgreSQL */
/*
 * slow_errors.c
 *		Delays the report of an error by a second in sessions that set slow_errors.delay.
 *
 * A wait for a lock that fails is over before its session reports the error. On a busy machine, a
 * sample can fall between the two. A server that preloads this library after connpool_monitor
 * makes that certain. t/052_lock_log.pl uses it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/elog.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static emit_log_hook_type previous_emit_log_hook;

static void
delay_report(ErrorData *edata)
{
	if (edata->elevel >= ERROR && GetConfigOption("slow_errors.delay", true, false) != NULL)
		pg_usleep(1000 * 1000);
	if (previous_emit_log_hook)
		previous_emit_log_hook(edata);
}

void
_PG_init(void)
{
	previous_emit_log_hook = emit_log_hook;
	emit_log_hook = delay_report;
}
