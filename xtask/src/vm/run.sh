# What the guest does: tells of the kernel, then runs the tests. Their outcomes go to the second serial port as JSON.
cd /payload || exit
export RINGWATCH_BIN=/payload/ringwatch RINGWATCH_WORKLOAD=/payload/ringwatch-workload RINGWATCH_TEST_DIR=/payload/tests
mkdir tests
./ringwatch check
./ringwatch check --json >check.json || exit 3
echo "VM-LOAD $(cut -d ' ' -f 1 /proc/uptime)"
./ringwatch trace -o json:/dev/null -- true
echo "VM-LOADED $(cut -d ' ' -f 1 /proc/uptime)"
# The programs that the skipped tests compare with are not here.
exec ./kernel --skip fio_ --skip qemu_ --test-threads=1 --format=json --logfile=/dev/ttyS1
