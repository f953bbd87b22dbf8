-- set_media: mirrors domain/membership.rs
-- A member changes its media. `own_peer`: the peer id that it gives as its own, or empty.
local connection, own_peer, media = ARGV[5], ARGV[6], tonumber(ARGV[7])
local why = open()
if why then return refuse(why) end
touch()
local seat = seat_of(connection)
if not seat then return refuse('not_in_room') end
if own_peer ~= '' and own_peer ~= seat.c and name_of(seat) ~= own_peer then return refuse('peer_mismatch') end
seat.v = media
tell('*' .. seat.c, '{"media":' .. write(seat) .. '}')
return done('"r":1')
