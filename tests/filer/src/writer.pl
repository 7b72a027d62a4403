use strict;
use IO::Handle;
my ($path, $notes) = @ARGV;
my ($file, $number) = (undef, 1);
open(my $errors, '>>', "$notes.errors") or die $!;
$errors->autoflush(1);
# Once and again: a line that was cut short by an error is ended first.
sub attempt {
    unless ($file) {
        open($file, '>>', $path) or return 0;
        syswrite($file, "\n") or return 0;
    }
    my $line = sprintf("%08d\n", $number);
    (syswrite($file, $line) // 0) == length($line) or return 0;
    return $file->sync;
}
until (-e "$notes.stop") {
    unless (attempt()) {
        print $errors "$number: $!\n";
        close($file) if $file;
        undef $file;
        select(undef, undef, undef, 0.2);
        next;
    }
    # In memory: a rename shows one number or the other.
    open(my $last, '>', "$notes.new") or die $!;
    print $last $number;
    close($last);
    rename("$notes.new", "$notes.last") or die $!;
    $number++;
    select(undef, undef, undef, 0.01);
}
