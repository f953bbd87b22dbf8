-- roster: mirrors domain/roster.rs
-- ARGV: 5 user, 6 1 if an admin, 7 after whom or empty, 8 how many.
local why = open()
if why then return refuse(why) end
if not admits(ARGV[5], ARGV[6]) then return refuse('private') end
local known, users, total = {}, {}, 0
for _, text in ipairs(call('HVALS', M)) do
  local user = cjson.decode(text).w[1]
  if not known[user] then
    known[user], total = true, total + 1
    if user > ARGV[7] then users[#users + 1] = user end
  end
end
table.sort(users)
local limit, list = tonumber(ARGV[8]), {}
for at = 1, math.min(limit, #users) do list[at] = cjson.encode(users[at]) end
return done(view(false) .. ',"t":' .. total .. ',"us":[' .. table.concat(list, ',') .. '],"more":' ..
  (#users > limit and 1 or 0))
