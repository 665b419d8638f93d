# shellcheck shell=dash
# What the guest does: tells of the kernel, then runs the tests. Their outcomes go to the second serial port as JSON.
# Before this, guest.rs sets PLANS, FILTER and COST.
cd /payload || exit
export RINGWATCH_BIN=/payload/ringwatch RINGWATCH_WORKLOAD=/payload/ringwatch-workload RINGWATCH_TEST_DIR=/payload/tests
# Only here may tests change the machine.
export RINGWATCH_VM=1 RUST_BACKTRACE=1
# Of programs made by chance, the same few for each form.
export RINGWATCH_FUZZ_PROGRAMS=5 RINGWATCH_FUZZ_SEED=1
mkdir tests
for plan in $PLANS; do
	echo "VM-CHECK $plan"
	# One that hangs must not take the others with it.
	timeout -s KILL 60 ./ringwatch check --probes "$plan" --json >"check-$plan.json"
done
timeout -s KILL 60 ./ringwatch check --json >check.json || exit 3
echo "VM-LOAD $(cut -d ' ' -f 1 /proc/uptime)"
./ringwatch trace -o json:/dev/null -- true
echo "VM-LOADED $(cut -d ' ' -f 1 /proc/uptime)"
# What a write costs under each plan, and nothing else.
if [ -n "$COST" ]; then
	for _ in $(seq 15); do
		echo "VM-COST untraced $(./ringwatch-workload burst --writes 20000)"
		for plan in $PLANS; do
			grep -q '"problem": null' "check-$plan.json" || continue
			echo "VM-COST $plan $(./ringwatch trace --probes "$plan" -o json:/dev/null -- ./ringwatch-workload burst --writes 20000 2>/dev/null)"
		done
	done
	exit 0
fi
# The programs that these tests compare with are not here.
./kernel --list ${FILTER:+-- "$FILTER"} | sed -n 's/^\(.*\(fio\|qemu\|inodes\)_.*\): test$/VM-SKIP \1/p'
exec ./kernel --skip fio_ --skip qemu_ --skip inodes_ --test-threads=1 --format=json --logfile=/dev/ttyS1 ${FILTER:+-- "$FILTER"}
