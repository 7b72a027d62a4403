# Writes 1, 2, 3… to /data/log until it cannot. A number that is in /rig/$1.acked has been flushed to the volume.
number=1
while echo $number >>/data/log && sync /data/log; do
    echo $number >"/rig/$1.new" && sync "/rig/$1.new" && mv "/rig/$1.new" "/rig/$1.acked" || exit 1
    number=$((number + 1))
done
echo $number >"/rig/$1.failed"
