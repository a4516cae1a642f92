/*
 * session.c
 *		Notes when the session of this process opens.
 *
 * A session is open once its start-up transaction has committed: the limits of
 * role and database refuse after authentication has succeeded, where a hook for
 * that would already have counted it. The callback is registered in the
 * postmaster and inherited by every backend; after its first commit it costs a
 * look at a variable.
 */
#include "postgres.h"

#include "access/xact.h"
#include "collect/session.h"
#include "miscadmin.h"
#include "store/session_counts.h"

static bool is_open;

static void
note_commit(XactEvent event, void *arg)
{
	(void) arg;
	if (is_open || event != XACT_EVENT_COMMIT)
		return;
	is_open = true;
	if (MyBackendType == B_BACKEND)
		cpm_session_opened();
}

void
cpm_session_install(void)
{
	RegisterXactCallback(note_commit, NULL);
}

bool
cpm_session_is_open(void)
{
	return is_open;
}
