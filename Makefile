# connpool_monitor: monitors connections and pooling from inside PostgreSQL

MODULE_big = connpool_monitor
EXTENSION = connpool_monitor
DATA = sql/connpool_monitor--1.0.sql
PGFILEDESC = "connpool_monitor - connection and pool monitoring"

OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
PG_CPPFLAGS = -I$(srcdir)/src
EXTRA_CLEAN = src/judge/condition_names.inc

# Tests against a running server that scripts/test starts, with the settings that
# they need. Files with -- in their names are install scripts. The test install
# comes first: it leaves the extension to the others.
SQL_FILES = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
TESTS = $(foreach file,$(SQL_FILES),$(if $(findstring --,$(file)),,$(file)))
REGRESS = install $(filter-out install,$(TESTS))
REGRESS_OPTS = --inputdir=$(srcdir)
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir) --load-extension=pg_stat_statements --load-extension=connpool_monitor

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# names of conditions, as the PostgreSQL that is built for has them
ERRCODES = $(datadir)/errcodes.txt
src/judge/condition_names.inc: $(ERRCODES) scripts/condition-names
	sh $(srcdir)/scripts/condition-names <$(ERRCODES) >$@

src/judge/sqlstates.o: src/judge/condition_names.inc

# every object is rebuilt when a header changes: small, and never stale
$(OBJS): $(wildcard src/*/*.h)
