// The five games of MinAtar (Young and Tian 2019, arXiv:1903.03176), many of them stepped by one call.
//
// The rules are those of the package, version 1.0.15, its odd corners too; tests hold the two together step by step.
// What a game draws is a function of (seed, environment, step): see `Chance`. One board is ten rows of ten cells, a bit
// each, so that whatever moves as a whole is shifted as a whole. Cell (y, x) is bit 10 y + x; y grows downwards.
//
// Before this text stand philox.h and, from workloads/reinforcement/minatar.py, the codes of what is drawn.

#include <cstdint>
#include <cstdlib>
#include <algorithm>

namespace minatar {

using Cells = unsigned __int128;

constexpr int SIDE = 10, CHANNELS = 10;  // of what is shown; a game has fewer of its own, or as many
constexpr Cells BOARD = (Cells(1) << (SIDE * SIDE)) - 1;
constexpr Cells TOP_ROW = (1 << SIDE) - 1;

enum Action { NONE, LEFT, UP, RIGHT, DOWN, FIRE };

constexpr Cells at(int y, int x) { return Cells(1) << (SIDE * y + x); }
constexpr Cells row(int y) { return TOP_ROW << (SIDE * y); }
constexpr Cells columns(int columns_of_a_row) {
    Cells all = 0;
    for (int y = 0; y < SIDE; ++y) all |= Cells(columns_of_a_row) << (SIDE * y);
    return all;
}
constexpr Cells column(int x) { return columns(1 << x); }
inline bool on_board(int x) { return x >= 0 && x < SIDE; }
inline int moved(int place, bool less, bool more, int least, int most) {
    return less ? std::max(least, place - 1) : more ? std::min(most, place + 1) : place;
}
inline int number_of(Cells cells) {
    return __builtin_popcountll(uint64_t(cells)) + __builtin_popcountll(uint64_t(cells >> 64));
}

// What one environment draws at one step, or where an episode begins: four words for every purpose.
struct Chance {
    uint32_t seed;
    uint64_t when;  // the environment's number above, its step or episode in the lower 32 bits

    philox::Words words(uint32_t what, uint32_t index = 0) const { return philox::block(index, when, 0, {seed, what}); }
};
inline double uniform(uint32_t word) { return double(word >> 8) * 0x1p-24; }
inline int below(uint32_t word, int count) { return int((uint64_t(word) * uint64_t(count)) >> 32); }

// Up to LIMIT things in the order of their arrival.
template <class Thing, int LIMIT>
struct Line {
    int16_t count;
    Thing things[LIMIT];

    Thing& operator[](int i) { return things[i]; }
    const Thing& operator[](int i) const { return things[i]; }
    void add(const Thing& thing) {
        if (count == LIMIT) std::abort();  // no play of the game comes to this, see where a Line is declared
        things[count++] = thing;
    }
    void erase(int i) {
        std::copy(things + i + 1, things + count, things + i);
        --count;
    }
    // The first that stands in a cell, or -1.
    int in_cell(int x, int y) const {
        for (int i = 0; i < count; ++i)
            if (things[i].x == x && things[i].y == y) return i;
        return -1;
    }
};

// A paddle, a ball that runs along diagonals, three rows of bricks, +1 for each.
struct Breakout {
    enum { PADDLE, BALL, TRAIL, BRICK, OWN_CHANNELS };
    static constexpr Cells WALL = row(1) | row(2) | row(3);

    int16_t paddle, x, y, last_x, last_y, right, down, struck;
    uint64_t bricks;  // of a board's first 64 cells, and so of rows 1 to 3

    void begin(const Chance& chance) {
        const bool from_right = below(chance.words(START).word[0], 2);
        *this = {};
        paddle = 4, y = 3, x = from_right ? 9 : 0;
        right = from_right ? -1 : 1, down = 1;
        last_x = x, last_y = y, bricks = uint64_t(WALL);
    }

    bool step(int action, const Chance&, bool, double& reward) {
        paddle = moved(paddle, action == LEFT, action == RIGHT, 0, 9);
        last_x = x, last_y = y;
        int to_x = x + right, to_y = y + down;
        bool over = false, in_brick = false;
        if (!on_board(to_x)) {
            to_x = to_x < 0 ? 0 : 9;
            right = -right;
        }
        if (to_y < 0) {
            to_y = 0;
            down = -down;
        } else if (Cells(bricks) & at(to_y, to_x)) {
            in_brick = true;
            if (!struck) {  // a ball that has just struck a brick flies through the next
                reward += 1;
                struck = true;
                bricks &= ~uint64_t(at(to_y, to_x));
                to_y = y;
                down = -down;
            }
        } else if (to_y == 9) {
            if (!bricks) bricks = uint64_t(WALL);
            if (x == paddle || to_x == paddle) {
                if (x != paddle) right = -right;  // met on its corner, it goes back where it came from
                down = -down;
                to_y = y;
            } else {
                over = true;
            }
        }
        if (!in_brick) struck = false;
        x = to_x, y = to_y;
        return over;
    }

    void show(Cells* board) const {
        board[PADDLE] = at(9, paddle);
        board[BALL] = at(y, x);
        board[TRAIL] = at(last_y, last_x);
        board[BRICK] = bricks;
    }
};

// Gold and enemies cross eight rows, at most one in each; +1 for gold, the end for an enemy.
struct Asterix {
    enum { PLAYER, ENEMY, TRAIL, GOLD, OWN_CHANNELS };
    struct Passer {
        int8_t x, rightward, gold, there;
    };

    int16_t x, y, spawn_time, spawn_in, move_time, move_in, ramp_in, ramps;
    Passer rows[8];  // of board rows 1 to 8

    void begin(const Chance&) {
        *this = {};
        x = y = 5;
        spawn_time = spawn_in = 10, move_time = move_in = 5, ramp_in = 100;
    }

    bool step(int action, const Chance& chance, bool ramping, double& reward) {
        if (spawn_in == 0) {
            spawn(chance.words(SPAWN));
            spawn_in = spawn_time;
        }
        x = moved(x, action == LEFT, action == RIGHT, 0, 9);
        y = moved(y, action == UP, action == DOWN, 1, 8);
        bool over = met(reward);
        if (move_in == 0) {
            move_in = move_time;
            for (Passer& passer : rows) {
                if (!passer.there) continue;
                passer.x += passer.rightward ? 1 : -1;
                passer.there = on_board(passer.x);
            }
            over |= met(reward);
        }
        --spawn_in, --move_in;
        if (ramping) harder();
        return over;
    }

    void spawn(const philox::Words& drawn) {
        const int free = int(std::count_if(rows, rows + 8, [](const Passer& passer) { return !passer.there; }));
        if (free == 0) return;
        int left = below(drawn.word[2], free);
        Passer* passer = rows;
        while (passer->there || left--) ++passer;
        const bool rightward = uniform(drawn.word[0]) < 0.5;
        *passer = {int8_t(rightward ? 0 : 9), rightward, uniform(drawn.word[1]) < 1.0 / 3, true};
    }

    // Whether an enemy is where the player is; gold is taken.
    bool met(double& reward) {
        Passer& passer = rows[y - 1];
        if (!passer.there || passer.x != x) return false;
        if (!passer.gold) return true;
        passer.there = false;
        reward += 1;
        return false;
    }

    void harder() {
        if (spawn_time == 1 && move_time == 1) return;
        if (ramp_in-- >= 0) return;
        if (move_time > 1 && ramps % 2) --move_time;
        if (spawn_time > 1) --spawn_time;
        ++ramps;
        ramp_in = 100;
    }

    void show(Cells* board) const {
        board[PLAYER] = at(y, x);
        for (int i = 0; i < 8; ++i) {
            const Passer& passer = rows[i];
            if (!passer.there) continue;
            board[passer.gold ? GOLD : ENEMY] |= at(i + 1, passer.x);
            const int behind = passer.x + (passer.rightward ? -1 : 1);
            if (on_board(behind)) board[TRAIL] |= at(i + 1, behind);
        }
    }
};

// A cannon under a block of aliens that walks, turns at the edges and comes down; +1 for each that is shot.
struct SpaceInvaders {
    enum { CANNON, ALIEN, ALIEN_LEFT, ALIEN_RIGHT, OWN_SHOT, ALIEN_SHOT, OWN_CHANNELS };
    static constexpr Cells WAVE = columns(0b0011111100) & (row(0) | row(1) | row(2) | row(3));

    Cells aliens, shots, bombs;
    int16_t x, rightward, march_time, march_in, bomb_in, shot_in;

    void begin(const Chance&) {
        *this = {};
        aliens = WAVE, x = 5;
        march_time = march_in = 12, bomb_in = 10;
    }

    bool step(int action, const Chance&, bool ramping, double& reward) {
        if (action == FIRE && shot_in == 0) {
            shots |= at(9, x);
            shot_in = 5;
        }
        x = moved(x, action == LEFT, action == RIGHT, 0, 9);
        shots >>= SIDE;
        bombs = (bombs << SIDE) & BOARD;
        bool over = ((bombs | aliens) & at(9, x)) != 0;
        if (march_in == 0) {
            march_in = std::min<int16_t>(number_of(aliens), march_time);
            over |= march();
        }
        if (bomb_in == 0) {
            bomb_in = 10;
            bombs |= nearest();
        }
        const Cells hit = aliens & shots;
        reward += number_of(hit);
        aliens &= ~hit, shots &= ~hit;
        shot_in -= shot_in > 0;
        --march_in, --bomb_in;
        if (!aliens) {
            if (ramping && march_time > 6) --march_time;
            aliens |= WAVE;
        }
        return over;
    }

    // Whether they have landed.
    bool march() {
        bool landed = false;
        if (aliens & column(rightward ? 9 : 0)) {
            rightward = !rightward;
            landed = (aliens & row(9)) != 0;
            aliens = ((aliens << SIDE) & BOARD) | (aliens >> (SIDE * 9));
        } else {
            aliens = rightward ? aliens << 1 : aliens >> 1;
        }
        return landed || (aliens & at(9, x)) != 0;
    }

    // The lowest alien of the column nearest to the cannon, the left one of two.
    Cells nearest() const {
        for (int far = 0; far < SIDE; ++far)
            for (int place : {x - far, x + far})
                if (on_board(place) && (aliens & column(place)))
                    for (int y = SIDE - 1; y >= 0; --y)
                        if (aliens & at(y, place)) return at(y, place);
        return 0;
    }

    void show(Cells* board) const {
        board[CANNON] = at(9, x);
        board[ALIEN] = board[rightward ? ALIEN_RIGHT : ALIEN_LEFT] = aliens;
        board[OWN_SHOT] = shots;
        board[ALIEN_SHOT] = bombs;
    }
};

// Eight lanes of cars between a chicken and the other side; +1 and other cars for each crossing, 2,501 steps in all.
struct Freeway {
    // Five channels from FASTEST on tell the steps between two moves of a car.
    enum { CHICKEN, CAR, FASTEST, OWN_CHANNELS = FASTEST + 5 };

    struct Car {
        int8_t x, wait, every, rightward;
    };

    int16_t y, move_in, left;
    Car cars[8];  // of board rows 1 to 8

    void begin(const Chance& chance) {
        *this = {};
        y = 9, move_in = 3, left = 2500;
        other_cars(chance, FIRST_CARS);
    }

    // Of uniform numbers an exact half, at which the package's cars have no direction, is rightward.
    void other_cars(const Chance& chance, uint32_t what) {
        uint32_t drawn[16];
        for (int block = 0; block < 4; ++block) {
            const philox::Words words = chance.words(what, block);
            for (int word = 0; word < 4; ++word) drawn[4 * word + block] = words.word[word];
        }
        for (int i = 0; i < 8; ++i) {
            cars[i].every = cars[i].wait = int8_t(1 + below(drawn[i], 5));
            cars[i].rightward = uniform(drawn[8 + i]) >= 0.5;
        }
    }

    bool step(int action, const Chance& chance, bool, double& reward) {
        if (move_in == 0 && (action == UP || action == DOWN)) {
            move_in = 3;
            y = moved(y, action == UP, action == DOWN, 0, 9);
        }
        if (y == 0) {
            reward += 1;
            other_cars(chance, CARS);
            y = 9;
        }
        for (int i = 0; i < 8; ++i) {
            Car& car = cars[i];
            bool hit = car.x == 4;
            if (car.wait == 0) {
                car.wait = car.every;
                car.x = int8_t((car.x + (car.rightward ? 1 : SIDE - 1)) % SIDE);
                hit |= car.x == 4;
            } else {
                --car.wait;
            }
            if (hit && y == i + 1) y = 9;
        }
        move_in -= move_in > 0;
        return --left < 0;
    }

    void show(Cells* board) const {
        board[CHICKEN] = at(y, 4);
        for (int i = 0; i < 8; ++i) {
            board[CAR] |= at(i + 1, cars[i].x);
            const int behind = (cars[i].x + (cars[i].rightward ? SIDE - 1 : 1)) % SIDE;
            board[FASTEST + cars[i].every - 1] |= at(i + 1, behind);
        }
    }
};

// A submarine that shoots fish and submarines, +1 each, brings divers up and must breathe.
struct Seaquest {
    enum { FRONT, BACK, SHOT, TRAIL, TORPEDO, FISH, SUBMARINE, OXYGEN, DIVERS, DIVER, OWN_CHANNELS };
    static constexpr int AIR = 200;

    struct Flying {
        int8_t x, y, rightward;
    };
    struct Swimmer {
        int8_t x, y, rightward, move_in, fire_in;  // only submarines fire
    };

    int16_t x, y, rightward, oxygen, divers_aboard, surfaced;
    int16_t enemy_time, enemy_in, diver_in, move_time, ramps, shot_in;
    // A shot lives at most ten steps, and one is fired in five. An enemy lives at most 60 steps, and one comes in each.
    // A torpedo lives ten, and a submarine fires one in eleven: one for each that was there in the last ten. A diver
    // lives at most 60, and one comes in thirty.
    Line<Flying, 4> shots;
    Line<Flying, 72> torpedoes;
    Line<Swimmer, 64> fish, submarines;
    Line<Swimmer, 4> divers;

    void begin(const Chance&) {
        *this = {};
        oxygen = AIR, x = 5, surfaced = true;
        enemy_time = enemy_in = 20, diver_in = 30, move_time = 5;
    }

    bool here(int other_x, int other_y) const { return other_x == x && other_y == y; }

    bool step(int action, const Chance& chance, bool ramping, double& reward) {
        if (enemy_in == 0) {
            spawn_enemy(chance.words(SPAWN));
            enemy_in = enemy_time;
        }
        if (diver_in == 0) {
            const philox::Words drawn = chance.words(SPAWN_DIVER);
            const bool from_left = uniform(drawn.word[0]) < 0.5;
            divers.add({int8_t(from_left ? 0 : 9), int8_t(1 + below(drawn.word[1], 8)), from_left, 5, 0});
            diver_in = 30;
        }
        act(action);
        move_shots(reward);
        move_divers();
        bool over = false;
        over |= move_enemies(submarines, true, reward);
        over |= move_torpedoes();
        over |= move_enemies(fish, false, reward);
        enemy_in -= enemy_in > 0, diver_in -= diver_in > 0, shot_in -= shot_in > 0;
        over |= oxygen <= 0;
        if (y > 0) {
            --oxygen;
            surfaced = false;
        } else if (!surfaced) {
            if (divers_aboard == 0) return true;
            surface(ramping, reward);
        }
        return over;
    }

    // None in a row through which another comes the other way.
    void spawn_enemy(const philox::Words& drawn) {
        const bool from_left = uniform(drawn.word[0]) < 0.5, submarine = uniform(drawn.word[1]) < 1.0 / 3;
        const int8_t lane = int8_t(1 + below(drawn.word[2], 8));
        for (const auto* line : {&fish, &submarines})
            for (int i = 0; i < line->count; ++i)
                if ((*line)[i].y == lane && (*line)[i].rightward != from_left) return;
        (submarine ? submarines : fish).add({int8_t(from_left ? 0 : 9), lane, from_left, int8_t(move_time), 10});
    }

    void act(int action) {
        if (action == FIRE && shot_in == 0) {
            shots.add({int8_t(x), int8_t(y), int8_t(rightward)});
            shot_in = 5;
        }
        if (action == LEFT || action == RIGHT) rightward = action == RIGHT;
        x = moved(x, action == LEFT, action == RIGHT, 0, 9);
        y = moved(y, action == UP, action == DOWN, 0, 8);
    }

    void move_shots(double& reward) {
        for (int i = shots.count - 1; i >= 0; --i) {
            Flying& shot = shots[i];
            shot.x += shot.rightward ? 1 : -1;
            bool gone = !on_board(shot.x);
            for (auto* line : {&fish, &submarines}) {
                const int hit = gone ? -1 : line->in_cell(shot.x, shot.y);
                if (hit < 0) continue;
                line->erase(hit);
                reward += 1;
                gone = true;
            }
            if (gone) shots.erase(i);
        }
    }

    void move_divers() {
        for (int i = divers.count - 1; i >= 0; --i) {
            Swimmer& diver = divers[i];
            const bool room = divers_aboard < 6;
            bool taken = room && here(diver.x, diver.y);
            if (!taken && diver.move_in-- == 0) {
                diver.move_in = 5;
                diver.x += diver.rightward ? 1 : -1;
                taken = room && here(diver.x, diver.y);
            }
            divers_aboard += taken;
            if (taken || !on_board(diver.x)) divers.erase(i);
        }
    }

    // Whether one of them met the player. One that swims into a shot is hit, and may fire as it sinks.
    bool move_enemies(Line<Swimmer, 64>& line, bool fire, double& reward) {
        bool met = false;
        for (int i = line.count - 1; i >= 0; --i) {
            Swimmer enemy = line[i];
            bool gone = false;
            met |= here(enemy.x, enemy.y);
            if (enemy.move_in-- == 0) {
                enemy.move_in = int8_t(move_time);
                enemy.x += enemy.rightward ? 1 : -1;
                const bool meets = here(enemy.x, enemy.y);
                const int hit = meets ? -1 : shots.in_cell(enemy.x, enemy.y);
                met |= meets;
                gone = hit >= 0 || !on_board(enemy.x);
                if (hit >= 0) {
                    shots.erase(hit);
                    reward += 1;
                }
            }
            if (fire && enemy.fire_in-- == 0) {
                enemy.fire_in = 10;
                torpedoes.add({enemy.x, enemy.y, enemy.rightward});
            }
            line[i] = enemy;
            if (gone) line.erase(i);
        }
        return met;
    }

    bool move_torpedoes() {
        bool met = false;
        for (int i = torpedoes.count - 1; i >= 0; --i) {
            Flying& torpedo = torpedoes[i];
            met |= here(torpedo.x, torpedo.y);
            torpedo.x += torpedo.rightward ? 1 : -1;
            met |= here(torpedo.x, torpedo.y);
            if (!on_board(torpedo.x)) torpedoes.erase(i);
        }
        return met;
    }

    // Six divers bring a reward by the air that is left. One is always taken from those aboard, from none too.
    void surface(bool ramping, double& reward) {
        surfaced = true;
        if (divers_aboard == 6) {
            divers_aboard = 0;
            reward += oxygen * 10 / AIR;
        }
        oxygen = AIR;
        --divers_aboard;
        if (!ramping || (enemy_time == 1 && move_time == 2)) return;
        if (move_time > 2 && ramps % 2) --move_time;
        if (enemy_time > 1) --enemy_time;
        ++ramps;
    }

    void show(Cells* board) const {
        board[FRONT] = at(y, x);
        board[BACK] = at(y, x + (rightward ? -1 : 1));
        board[OXYGEN] = Cells((1 << (std::max<int>(0, oxygen) * 10 / AIR)) - 1) << (SIDE * 9);
        for (int i = 0; i < divers_aboard; ++i) board[DIVERS] |= at(9, 8 - i);
        show_flying(shots, board[SHOT]);
        show_flying(torpedoes, board[TORPEDO]);
        show_swimmers(fish, board[FISH], board[TRAIL]);
        show_swimmers(submarines, board[SUBMARINE], board[TRAIL]);
        show_swimmers(divers, board[DIVER], board[TRAIL]);
    }

    template <class Things>
    static void show_flying(const Things& line, Cells& cells) {
        for (int i = 0; i < line.count; ++i) cells |= at(line[i].y, line[i].x);
    }

    template <class Things>
    static void show_swimmers(const Things& line, Cells& cells, Cells& trail) {
        show_flying(line, cells);
        for (int i = 0; i < line.count; ++i) {
            const int behind = line[i].x + (line[i].rightward ? -1 : 1);
            if (on_board(behind)) trail |= at(line[i].y, behind);
        }
    }
};

// Whichever is played; zeros, before a game begins for the first time.
union Any {
    Breakout breakout;
    Asterix asterix;
    SpaceInvaders space_invaders;
    Freeway freeway;
    Seaquest seaquest;
};

// `work` told which game number `game` is.
template <class Work>
void in_game(int64_t game, Work work) {
    switch (game) {
        case 0: return work(&Any::breakout);
        case 1: return work(&Any::asterix);
        case 2: return work(&Any::space_invaders);
        case 3: return work(&Any::freeway);
        case 4: return work(&Any::seaquest);
    }
}

// Into (10, 10, 10) numbers by row, column and channel, those cells that are not as `shown` says they stand there.
template <class Own>
void paint(const Own& own, const int64_t* places, Cells* shown, float* out) {
    Cells board[Own::OWN_CHANNELS] = {};
    own.show(board);
    for (int channel = 0; channel < Own::OWN_CHANNELS; ++channel) {
        const int64_t place = places[channel];
        const Cells changed = board[channel] ^ shown[place];
        if (!changed) continue;
        shown[place] = board[channel];
        for (int half = 0; half < 2; ++half) {
            const uint64_t bits = uint64_t(board[channel] >> (64 * half));
            for (uint64_t rest = uint64_t(changed >> (64 * half)); rest; rest &= rest - 1) {
                const int bit = __builtin_ctzll(rest);
                out[CHANNELS * (64 * half + bit) + place] = float((bits >> bit) & 1);
            }
        }
    }
}

}  // namespace minatar

// (M, E) environments. What begins with `member_` has M values, all else M E, in the order of a C array.
struct Worlds {
    int64_t members, environments;
    const int64_t *member_seed, *member_game, *member_ramping;
    const double* member_sticky;
    const int64_t* member_places;  // (M, 10): the channel in which each of a game's channels is shown
    minatar::Any* own;
    int64_t* last_action;
    minatar::Cells* shown;  // (M, E, 10)
    float* observation;     // (M, E, 10, 10, 10)

    minatar::Chance chance(int64_t member, int64_t i, int64_t when) const {
        return {uint32_t(member_seed[member]), uint64_t(i - member * environments) << 32 | uint64_t(when)};
    }

    template <class Own>
    void paint(const Own& of_i, int64_t member, int64_t i) const {
        constexpr int64_t NUMBERS = minatar::SIDE * minatar::SIDE * minatar::CHANNELS;
        minatar::paint(
            of_i, member_places + minatar::CHANNELS * member, shown + minatar::CHANNELS * i, observation + NUMBERS * i
        );
    }

    // `work` for every environment, told its member, its place among all, and what it is within its game.
    template <class Work>
    void each(Work work) const {
        for (int64_t member = 0; member < members; ++member)
            minatar::in_game(member_game[member], [&](auto game) {
                for (int64_t i = member * environments; i < (member + 1) * environments; ++i)
                    work(member, i, own[i].*game);
            });
    }
};

extern "C" int64_t minatar_size() { return sizeof(minatar::Any); }

// Show all anew, after a load.
extern "C" void minatar_show(const Worlds* all) {
    all->each([&](int64_t member, int64_t i, const auto& own) { all->paint(own, member, i); });
}

// Put those in the mask `where` at the beginning of their `episode`.
extern "C" void minatar_begin(const Worlds* all, const uint8_t* where, const int64_t* episode) {
    all->each([&](int64_t member, int64_t i, auto& own) {
        if (!where[i]) return;
        own.begin(all->chance(member, i, episode[i]));
        all->paint(own, member, i);
    });
}

// Everyone one step on, step number `member_clock` of every environment; at random, the last action is taken again.
extern "C" void minatar_step(
    const Worlds* all, const int64_t* member_clock, const int64_t* action, double* reward, uint8_t* over
) {
    all->each([&](int64_t member, int64_t i, auto& own) {
        const minatar::Chance chance = all->chance(member, i, member_clock[member]);
        const double sticky = all->member_sticky[member];
        int64_t& taken = all->last_action[i];
        if (!(sticky > 0 && minatar::uniform(chance.words(STICKY).word[0]) < sticky)) taken = action[i];
        reward[i] = 0;
        over[i] = own.step(int(taken), chance, all->member_ramping[member] != 0, reward[i]);
        all->paint(own, member, i);
    });
}
