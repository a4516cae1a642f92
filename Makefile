# SPDX-License-Identifier: PostgreSQL
# connpool_monitor: monitors connections and pooling from inside PostgreSQL

# Find files by pattern. Names are relative to the directory of this Makefile, which is not the
# current directory if make was started with -f.
here := $(dir $(firstword $(MAKEFILE_LIST)))
files = $(patsubst $(here)%,%,$(sort $(wildcard $(addprefix $(here),$(1)))))
ifneq ($(here),./)
# PGXS sets VPATH only if PostgreSQL itself was built outside its source tree
VPATH := $(here)
endif

MODULE_big = connpool_monitor
EXTENSION = connpool_monitor
DATA = sql/connpool_monitor--1.0.sql
PGFILEDESC = "connpool_monitor - connection and pool monitoring"

# The PgBouncer and HTTP workers are separate libraries. The library that every backend loads
# contains none of their code and links no third-party libraries.
PGBOUNCER_LIBRARY = connpool_monitor_pgbouncer$(DLSUFFIX)
PGBOUNCER_OBJS = $(patsubst %.c,%.o,$(call files,src/pgbouncer/*.c)) src/base/pooler.o

# The PgBouncer worker runs this program for each console. Only the program links libpq.
CONSOLE_PROGRAM = connpool_monitor_console
CONSOLE_OBJS = $(patsubst %.c,%.o,$(call files,src/console/*.c))

# HTTP needs libmicrohttpd. If it is missing, or with "make with_http=no", only the rest is built.
HTTP_LIBRARY = connpool_monitor_http$(DLSUFFIX)
HTTP_OBJS = $(patsubst %.c,%.o,$(call files,src/http/*.c))
ifndef with_http
with_http := $(shell pkg-config --exists libmicrohttpd 2>/dev/null && echo yes || echo missing)
endif
HTTP_CFLAGS := $(if $(filter yes,$(with_http)),$(shell pkg-config --cflags libmicrohttpd))
HTTP_LIBS := $(if $(filter yes,$(with_http)),$(shell pkg-config --libs libmicrohttpd))

SOURCES = $(filter-out src/console/% src/pgbouncer/% src/http/%,$(call files,src/*.c src/*/*.c))
OBJS = $(SOURCES:.c=.o)
# without PLT stubs, the calls into the server that every statement makes are faster
PG_CPPFLAGS = -I$(srcdir)/src -Isrc -fno-plt
# PGXS passes clang the options of the gcc that built PostgreSQL, some of which it does not know
PG_CFLAGS = $(if $(findstring clang,$(CC)),-Wno-unknown-warning-option \
	-Wno-ignored-optimization-argument -Wno-ignored-attributes)
EXTRA_CLEAN = src/base/condition_names.inc $(PGBOUNCER_LIBRARY) $(PGBOUNCER_OBJS) \
	$(CONSOLE_PROGRAM) $(CONSOLE_OBJS) src/http/page.inc $(HTTP_LIBRARY) $(HTTP_OBJS)

# Tests against a running server that preloads pg_stat_statements and connpool_monitor; they
# change other settings themselves. Files with -- in their names are install scripts. The test
# "install" runs first, because it creates the extension that the others use.
SQL_FILES = $(patsubst sql/%.sql,%,$(call files,sql/*.sql))
TESTS = $(foreach file,$(SQL_FILES),$(if $(findstring --,$(file)),,$(file)))
REGRESS = install $(filter-out install,$(TESTS))
REGRESS_OPTS = --inputdir=$(srcdir)
ISOLATION = $(patsubst specs/%.spec,%,$(call files,specs/*.spec))
ISOLATION_OPTS = --inputdir=$(srcdir) --load-extension=pg_stat_statements \
	--load-extension=connpool_monitor

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

ifneq ($(here),./)
$(shell mkdir -p $(dir $(OBJS) $(CONSOLE_OBJS) $(PGBOUNCER_OBJS) $(HTTP_OBJS)))
endif

all: $(PGBOUNCER_LIBRARY) $(CONSOLE_PROGRAM)

$(PGBOUNCER_LIBRARY): $(PGBOUNCER_OBJS)
	$(LINK.shared) -o $@ $(PGBOUNCER_OBJS) $(LDFLAGS) $(LDFLAGS_SL)

$(CONSOLE_PROGRAM): $(CONSOLE_OBJS)
	$(CC) $(CFLAGS) $(CONSOLE_OBJS) $(LDFLAGS) $(LDFLAGS_EX) $(libpq) -o $@

$(CONSOLE_OBJS): CPPFLAGS += -I$(libpq_srcdir)

install: install-pgbouncer
install-pgbouncer: $(PGBOUNCER_LIBRARY) $(CONSOLE_PROGRAM) installdirs
	$(INSTALL_SHLIB) $(PGBOUNCER_LIBRARY) '$(DESTDIR)$(pkglibdir)/$(PGBOUNCER_LIBRARY)'
	$(INSTALL_PROGRAM) $(CONSOLE_PROGRAM) '$(DESTDIR)$(pkglibdir)/$(CONSOLE_PROGRAM)'

uninstall: uninstall-pgbouncer
uninstall-pgbouncer:
	rm -f '$(DESTDIR)$(pkglibdir)/$(PGBOUNCER_LIBRARY)' '$(DESTDIR)$(pkglibdir)/$(CONSOLE_PROGRAM)'

.PHONY: install-pgbouncer uninstall-pgbouncer

ifeq ($(with_http),yes)
all: $(HTTP_LIBRARY)

$(HTTP_LIBRARY): $(HTTP_OBJS)
	$(LINK.shared) -o $@ $(HTTP_OBJS) $(LDFLAGS) $(LDFLAGS_SL) $(HTTP_LIBS)

$(HTTP_OBJS): CPPFLAGS += $(HTTP_CFLAGS)

install: install-http
install-http: $(HTTP_LIBRARY) installdirs
	$(INSTALL_SHLIB) $(HTTP_LIBRARY) '$(DESTDIR)$(pkglibdir)/$(HTTP_LIBRARY)'
.PHONY: install-http
else ifeq ($(with_http),missing)
all: report-without-http
report-without-http:
	@echo "connpool_monitor is built without HTTP: pkg-config finds no libmicrohttpd" \
		"(Debian: libmicrohttpd-dev and pkg-config)"
.PHONY: report-without-http
endif

# remove the library of an earlier build, which would not match the others
ifneq ($(with_http),yes)
install: uninstall-http
endif

uninstall: uninstall-http
uninstall-http:
	rm -f '$(DESTDIR)$(pkglibdir)/$(HTTP_LIBRARY)'
.PHONY: uninstall-http

# the web page as the bytes of a C array
src/http/page.inc: src/http/page.html scripts/embed
	sh $(srcdir)/scripts/embed <$(srcdir)/src/http/page.html >$@

src/http/page.o: src/http/page.inc

# the condition names of the PostgreSQL version that the extension is built for
ERRCODES = $(datadir)/errcodes.txt
src/base/condition_names.inc: $(ERRCODES) scripts/condition-names
	sh $(srcdir)/scripts/condition-names <$(ERRCODES) >$@

src/base/sqlstates.o: src/base/condition_names.inc

# rebuild every object when a header changes; dependencies per file are not worth tracking
$(OBJS) $(CONSOLE_OBJS) $(PGBOUNCER_OBJS) $(HTTP_OBJS): $(call files,src/*/*.h)

# the archive for PGXN: all files of the last commit
DIST = connpool_monitor-$(shell sed -n 's/^   "version": "\(.*\)",/\1/p' $(srcdir)/META.json)
dist:
	git -C $(srcdir) archive --format=zip --prefix=$(DIST)/ -o $(CURDIR)/$(DIST).zip HEAD
.PHONY: dist

define HELP
Targets (PG_CONFIG=/path/to/pg_config chooses the PostgreSQL):
  make                  build; with_http=no leaves HTTP out
  make install          install into that PostgreSQL
  make uninstall        remove what make install installed
  make installcheck     run the regression and isolation tests on a running server
  make clean            remove what make built
  make dist             make the archive for PGXN from the last commit

Scripts (each explains itself with --help):
  scripts/demo          show the extension at work; --keep leaves it running, --stop ends it
  scripts/test          build with warnings as errors and run the tests on the installed PostgreSQL
  scripts/test-versions run the tests in Debian roots of other releases
  scripts/test-assertions, -sanitizers, -valgrind
                        run the tests with assertions, sanitizers, valgrind
  scripts/test-installcheck
                        run PostgreSQL's own tests with the extension preloaded
  scripts/test-package  make the archive and the Debian packages and install them in an empty root
  scripts/test-scripts  test that the scripts leave nothing behind, however they end
  bench/run             compare costs with other monitors
endef
export HELP
help:
	@echo "$$HELP"
.PHONY: help
