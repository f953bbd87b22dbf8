-- create: mirrors domain/room.rs
-- ARGV: 5 epoch, 6 host, 7 host's id, 8 1 if a guest, 9 profile, 10 1 if private, 11 members it takes, 12 whether
-- messages are kept, 13 how many, 14 how long, then the participants.
if call('EXISTS', K) == 1 then
  touch()
  return refuse('in_use')
end
make(ARGV[5], ARGV[6], ARGV[7], ARGV[8], true)
call('HSET', K, 'pf', ARGV[9], 'v', ARGV[10], 'x', ARGV[11], 'y', ARGV[12], 'km', ARGV[13], 'ka', ARGV[14])
for at = 15, #ARGV do call('ZADD', A, 'NX', at, ARGV[at]) end
rest()
return done(view(false))
