# Unit 0 of the second portal is another one from now on. Wants $unit.
set -e
core=/sys/kernel/config/target/core/iblock_0
lun=/sys/kernel/config/target/iscsi/iqn.2026-01.test.rig:split/tpgt_2/lun/lun_0
rm $lun/a 2>/dev/null || rm $lun/b
ln -s $core/$unit $lun/$unit
